"""Writes the paper's tables as LaTeX: groups of rows, aligned decimal points, intervals below numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby

from jinja2 import Environment

from ..content.tex import LatexCode, escape, open_tex_templates
from .layouts import KINDS, Layout, name_backbone
from .tables import Block, Line, Number, PaperTable


def typeset_tables(tables: Sequence[PaperTable]) -> str:
    """Return the text of `paper.tex`."""
    return _open_paper_templates().get_template("paper.tex.j2").render(tables=tables)


@cache
def _open_paper_templates() -> Environment:
    """Open the templates of `paper.tex` once per process."""
    templates = open_tex_templates()
    templates.filters["tex"] = LatexCode
    templates.filters["rules"] = lambda layout: LatexCode(_write_rules(layout))
    templates.filters["body"] = lambda block, table: LatexCode("".join(_write_body(block, table)))
    return templates


def _count_leading_columns(layout: Layout) -> int:
    """Return the number of columns before the figures."""
    return 1 + layout.backbone + layout.kind


def _write_rules(layout: Layout) -> str:
    """Write a rule below each heading that spans several columns."""
    rules, first = [], _count_leading_columns(layout) + 1
    for head in layout.parts[0].heads:
        last = first + len(head.columns) - 1
        rules.append(rf"\cmidrule(lr){{{first}-{last}}}")
        first = last + 1
    return "".join(rules)


def _write_body(block: Block, table: PaperTable) -> Iterator[str]:
    """Write the lines of a block.  Each backbone and kind is named once, beside all its lines."""
    layout = table.layout
    last = _count_leading_columns(layout) + len(block.part.columns) + bool(layout.learnable)
    decimals = [max(n.decimals for n in column) for column in _list_columns(table)]
    marks = [max((n.marks for n in column), key=len) for column in _list_columns(table)]
    for number, (backbone, group) in enumerate(groupby(block.lines, key=lambda line: line.backbone)):
        if number and layout.backbone:
            yield "\\midrule\n"
        groups = [(layout.backbone, name_backbone(backbone), lines := list(group))]
        for place, (kind, members) in enumerate(groupby(lines, key=lambda line: line.kind)):
            if place:
                yield rf"\cmidrule(lr){{2-{last}}}" + "\n"
            of_kind = list(members)
            for line in of_kind:
                named = [*groups, (layout.kind, KINDS.get(kind, kind), of_kind)]
                heads = [
                    _write_group_name(name, lines_of_group, line)
                    for shown, name, lines_of_group in named
                    if shown
                ]
                heads.insert(layout.backbone, _write_method(line))
                yield from _write_line(line, heads, layout, decimals, marks)


def _list_columns(table: PaperTable) -> list[tuple[Number, ...]]:
    return list(zip(*(line.numbers for line in table.lines), strict=True))


def _write_group_name(name: str, lines: Sequence[Line], line: Line) -> str:
    """Write the name of a group in its first line, vertically centred over its lines."""
    if line is not lines[0]:
        return ""
    return rf"\multirow{{{sum(one.height for one in lines)}}}{{*}}{{{escape(name)}}}"


def _write_method(line: Line) -> str:
    name = escape(line.method)
    return rf"{name}\textsuperscript{{$\dagger$}}" if line.ours else name + escape(f"({line.venue})")


def _write_line(
    line: Line, heads: Sequence[str], layout: Layout, decimals: Sequence[int], marks: Sequence[str]
) -> Iterator[str]:
    cells = [_write_number(n, d, m) for n, d, m in zip(line.numbers, decimals, marks, strict=True)]
    line_cells = [*heads, *cells, *([escape(line.learnable)] if layout.learnable else [])]
    if line.height == 1:
        yield _write_row(line_cells)
    else:
        yield _write_row(line_cells, "[-2pt]")
        small = [rf"{{\tiny {escape(n.interval)}}}" if n.interval else "" for n in line.numbers]
        yield _write_row([*[""] * len(heads), *small, *([""] if layout.learnable else [])])


def _write_row(cells: Sequence[str], space: str = "") -> str:
    # in braces: a row that begins with a bracket would be read as the space after the row before it
    return " & ".join(f"{{{cell}}}" if cell else "" for cell in cells) + rf" \\{space}" + "\n"


def _write_number(number: Number, decimals: int, marks: str) -> str:
    """Write a number, padded to the most decimals and marks of its column."""
    text = escape(number.text)
    if number.bold:
        text = rf"\textbf{{{text}}}"
    if number.underlined:
        text = rf"\underline{{{text}}}"
    if lacking := decimals - number.decimals:
        text += rf"\phantom{{{'' if number.decimals else '.'}{'0' * lacking}}}"
    if marks:
        text += rf"\rlap{{\textsuperscript{{{number.marks}}}}}\hphantom{{\textsuperscript{{{marks}}}}}"
    return text
