"""Prints the last table of `fssbench run`, methods by benchmarks and shots, in a terminal of any width.

`fssbench.analysis.collect.collect` decides which method is best, as in every report.  Rows are methods if the table
fits the width, else benchmarks and shots.  An interval is printed beside its figure if there is room, else below it.
Columns without room continue in a further block.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from fssbench.analysis.rivals import explain_pretraining
from fssbench.analysis.row_keys import column_key, first_run
from fssbench.analysis.row_names import full_name, title_columns
from fssbench.cli.output import to_one_line
from fssbench.evidence import MORE_QUERIES, TOO_FEW
from fssbench.files.clean_text import clean_line
from fssbench.runs.mark_legend import LegendMark, build_legend, mark_letters

if TYPE_CHECKING:
    from fssbench.contracts.results import Cell

FAMILY = "Holm's p over all pairs of methods on one benchmark and shot, 5 %"
"""Rule by which a difference is significant."""
MISSING = "-"
"""Printed for a method without a figure in a column."""
_GAP = 2
"""Spaces between two columns."""
_LABEL_SHARES = (0.4, 0.0)
"""Shares of the width that the names of the rows may take; longer names are broken into lines."""
_WORDINGS = 3
"""Wordings of one kind of mark that the legend quotes; if it names methods, of each group of them."""
_GROUPS = 8
"""Groups of methods with different wordings of one mark that the legend names."""


@dataclass(frozen=True)
class Figure:
    """The printed mIoU of one method in one column."""

    value: str
    place: str = ""
    """`*` for the best, `=` for one that is not significantly worse, or nothing."""
    interval: str = ""
    letters: str = ""


@dataclass(frozen=True)
class Grid:
    """Figures by row and column."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    figures: dict[tuple[int, int], Figure]

    def turn(self) -> Grid:
        """Return the grid with rows and columns exchanged."""
        return Grid(self.columns, self.rows, {(c, r): figure for (r, c), figure in self.figures.items()})


@dataclass(frozen=True)
class Layout:
    """One way to print a grid in a given width."""

    grid: Grid
    stacked: bool
    """Whether the interval is printed below the figure."""
    label_width: int
    column_width: int
    blocks: tuple[range, ...]
    """Columns of the grid, by block."""

    def excess(self, width: int) -> int:
        """Return the number of characters by which the layout is too wide."""
        return max(0, self.label_width + _GAP + self.column_width - width)

    @property
    def lines(self) -> int:
        """Number of lines that the layout needs."""
        heights = [len(break_name(row, self.label_width)) for row in self.grid.rows]
        figure = 2 if self.stacked else 1
        body = sum(max(height, figure) for height in heights)
        headings = [
            max(len(break_name(self.grid.columns[i], self.column_width)) for i in block)
            for block in self.blocks
        ]
        return sum(heading + 2 + body for heading in headings)


def print_results(cells: Sequence[Cell], console: Console) -> None:
    """Print the table of some cells, and below it what its signs and letters mean.

    Args:
        cells: as collected, in the order of rows and columns; not empty.
        console: where to print; its width decides the form of the table.
    """
    legend = build_legend(mark for cell in cells for mark in cell.marks)
    layout = choose_layout(_build_grid(cells, legend), console.width)
    for block in (*_render(layout), _render_legend(cells, legend)):
        with console.capture() as capture:
            console.print(block)
        for line in capture.get().splitlines():
            click.echo(line.rstrip())
        click.echo()


def choose_layout(grid: Grid, width: int) -> Layout:
    """Choose how to print a grid whose rows are methods in `width` characters.

    A table that fits is better than one that does not, and a table in one piece better than one that
    continues in further blocks.  In one piece methods are rows if there is room; of several blocks the layout
    with the fewest lines is taken.
    """
    stacking = (False, True) if any(f.interval for f in grid.figures.values()) else (False,)
    turned = grid.turn()
    layouts = [
        _fit(either, stacked=stacked, label_share=share, width=width)
        for either in (grid, turned)
        for stacked in stacking
        for share in _LABEL_SHARES
    ]

    def cost(layout: Layout) -> tuple[int, bool, bool, int]:
        split = len(layout.blocks) > 1
        return layout.excess(width), split, layout.grid is turned and not split, layout.lines

    return min(layouts, key=cost)


def break_name(name: str, width: int) -> list[str]:
    """Break a name into lines of at most `width` characters, after spaces, colons, slashes and dashes.

    A piece that is too long stays whole; the table breaks it at any character.

    Example:
        >>> break_name("pascal-to-isic2018:isic1 5-shot", 12)
        ['pascal-to-', 'isic2018:', 'isic1 5-shot']
    """
    lines = [""]
    for piece in re.findall(r".+?(?:[\s:/,]+|(?<=[A-Za-z])-|$)", name):
        if lines[-1] and cell_len((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def _build_grid(cells: Sequence[Cell], legend: dict[str, LegendMark]) -> Grid:
    """Put the cells of all methods into rows and columns."""
    several = len({cell.backbone for cell in cells}) > 1
    titles = title_columns(cells)
    rows: dict[str, int] = {}
    figures: dict[tuple[int, int], Figure] = {}
    columns = {key: i for i, key in enumerate(titles)}
    for cell in cells:
        name = full_name(cell)
        if several and cell.backbone not in name:
            name = f"{name}, {cell.backbone}"
        row = rows.setdefault(to_one_line(name), len(rows))
        figures[row, columns[column_key(first_run(cell))]] = _print_figure(cell, legend)
    return Grid(tuple(rows), tuple(map(to_one_line, titles.values())), figures)


def _print_figure(cell: Cell, legend: dict[str, LegendMark]) -> Figure:
    miou = cell.miou
    return Figure(
        value=MISSING if miou.value != miou.value else f"{miou.value:.1f}",
        place="*" if cell.best else "=" if cell.tied else "",
        interval="" if miou.low != miou.low else f"[{miou.low:.1f}, {miou.high:.1f}]",
        letters=mark_letters(cell.marks, legend),
    )


def _fit(grid: Grid, *, stacked: bool, label_share: float, width: int) -> Layout:
    """Fit a grid into a width: break names, and put columns without room into further blocks."""
    figures = [_format_figure(figure, grid, stacked).plain for figure in grid.figures.values()]
    needed = max(cell_len(line) for figure in figures for line in figure.split("\n"))
    pieces = max(_measure_longest_line(name, needed) for name in grid.columns)
    column = min(max(needed, pieces), max(needed, width // 3))
    room = int(width * label_share)
    label = min(max(_measure_longest_line(name, room) for name in grid.rows), max(width // 2, 1))
    count = max(1, (width - label) // (column + _GAP))
    blocks = [range(i, min(i + count, len(grid.columns))) for i in range(0, len(grid.columns), count)]
    return Layout(grid, stacked, label, column, tuple(blocks))


def _measure_longest_line(name: str, width: int) -> int:
    return max(map(cell_len, break_name(name, width)))


def _format_figure(figure: Figure, grid: Grid, stacked: bool) -> Text:
    """Format a figure with its sign, interval and letters, aligned with the others of its grid."""
    figures = grid.figures.values()
    digits = max(len(f.value) for f in figures)
    sign = max(len(f.place) for f in figures)
    brackets = max(len(f.interval) for f in figures)
    text = Text()
    text.append(figure.value.rjust(digits), style="bold" if figure.place == "*" else "")
    text.append(figure.place.ljust(sign), style="bold")
    if brackets and not stacked:
        text.append(f" {figure.interval.ljust(brackets)}", style="dim")
    text.append(f" {figure.letters}", style="dim")
    text.rstrip()
    if stacked:
        text.append(f"\n{figure.interval}", style="dim")
    return text


def _render(layout: Layout) -> Iterator[Table]:
    """Draw each block of a layout as a table."""
    grid = layout.grid
    for block in layout.blocks:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("", width=layout.label_width, overflow="fold")
        for i in block:
            heading = "\n".join(break_name(grid.columns[i], layout.column_width))
            table.add_column(Text(heading), width=layout.column_width, overflow="fold", vertical="bottom")
        for r, row in enumerate(grid.rows):
            drawn: list[RenderableType] = [Text("\n".join(break_name(row, layout.label_width)))]
            for i in block:
                figure = grid.figures.get((r, i), Figure(MISSING))
                drawn.append(_format_figure(figure, grid, layout.stacked))
            table.add_row(*drawn)
        yield table


def _render_legend(cells: Sequence[Cell], legend: dict[str, LegendMark]) -> Table:
    """Explain the table: figures, signs, letters, and why an interval is missing."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    measured = any(cell.miou.low == cell.miou.low for cell in cells)
    table.add_row("", f"mIoU in %{', in brackets its 95 % interval' if measured else ''}")
    if any(cell.best for cell in cells):
        table.add_row("*", f"best{_of_backbone(cells)} on its benchmark and shot")
        table.add_row("=", f"not significantly worse than the best ({FAMILY})")
    if any(cell.miou.shortage for cell in cells):
        some = "figures without an interval" if measured else "no interval"
        table.add_row("", f"{some}: {TOO_FEW}, so there is no best method. {MORE_QUERIES}")
    if differing := explain_pretraining(cells, [full_name(cell) for cell in cells]):
        table.add_row("", to_one_line(differing))
    methods = _name_methods_of_marks(cells)
    for mark in legend.values():
        table.add_row(mark.letter, Text(explain_mark(mark, methods)))
    return table


def _of_backbone(cells: Iterable[Cell]) -> str:
    return " of its backbone" if len({cell.backbone for cell in cells}) > 1 else ""


def explain_mark(mark: LegendMark, methods: Mapping[str, Sequence[str]] | None = None) -> str:
    """Explain a mark, with its wordings in the runs.

    Args:
        mark: the mark.
        methods: the methods whose figures have it, by wording.  If they differ, each wording names its methods.

    Returns:
        One line, or a line with the meaning and one line per group of methods with the same wordings.
    """
    details = _shorten_wordings(mark)
    wordings = dict(zip(mark.wordings, details, strict=True))
    groups: dict[tuple[str, ...], list[str]] = {}
    for wording, detail in wordings.items():
        groups.setdefault(tuple((methods or {}).get(wording, ())), []).append(detail)
    if len(groups) > 1:
        head = f"{mark.kind}: {mark.meaning}" if mark.meaning else mark.kind
        lines = [f"{', '.join(names)}: {_join_details(several)}" for names, several in groups.items()]
        more = len(lines) - _GROUPS
        return "\n".join([head, *lines[:_GROUPS], *([f"and {more} more"] if more > 0 else [])])
    more = len(details) - _WORDINGS
    listed = "; ".join([*details[:_WORDINGS], *([f"and {more} more"] if more > 0 else [])])
    if not details:
        shown = mark.kind
    elif details == list(mark.wordings):
        shown = listed
    else:
        shown = f"{mark.kind} ({listed})"
    return f"{shown}: {mark.meaning}" if mark.meaning else shown


def _shorten_wordings(mark: LegendMark) -> list[str]:
    """Return the details alone if each wording is the kind with a detail in brackets, else the wordings."""
    details = [wording.removeprefix(mark.kind).strip() for wording in mark.wordings]
    if all(detail[:1] + detail[-1:] == "()" for detail in details):
        return [detail[1:-1] for detail in details]
    return list(mark.wordings)


def _join_details(details: Sequence[str]) -> str:
    """Join the details of one group of methods; several are in brackets, because a detail may contain `;`."""
    if len(details) == 1:
        return details[0]
    more = len(details) - _WORDINGS
    listed = ", ".join(f"({detail})" for detail in details[:_WORDINGS])
    return f"{listed} and {more} more" if more > 0 else listed


def _name_methods_of_marks(cells: Iterable[Cell]) -> dict[str, list[str]]:
    """Return the names of the methods whose figures have a mark, by the wording of the mark."""
    methods: dict[str, dict[str, None]] = {}
    for cell in cells:
        for mark in cell.marks:
            methods.setdefault(clean_line(mark), {})[to_one_line(full_name(cell))] = None
    return {wording: list(names) for wording, names in methods.items()}
