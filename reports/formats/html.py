"""The HTML report: one file without scripts and links, for screens, phones, dark mode and paper."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from fssbench.api import Cell, Fork, LegendMark, Reporter, Results, first_run

from ..content.analysis import Analysis, analyse
from ..content.model import Section, build_report, list_letters
from ..content.provenance import list_deviations
from ..content.templates import open_templates, read_template_file
from ..content.text import clean
from ..figures.svg import make_inline
from ..sections.ablation import make_ablation_tables
from ..sections.difficulty import make_class_tables, make_strata_tables
from ..sections.drawings import list_drawings
from ..sections.efficiency import collect_costs
from ..sections.findings import state_findings
from ..sections.gallery import Budget, make_galleries, make_gallery_parts
from ..sections.pairing import make_matrices, make_overview
from ..sections.sensitivity import make_sensitivity_lines, make_support_choice_lines

_MANY = 50
"""Fewest runs of which another process draws the examples."""
_FIGURE_SPACE = "\u2007"
"""A space as wide as a digit.  It aligns decimal points if a number has fewer decimals."""


class HtmlReporter(Reporter):
    """Writes `report.html`: tables, figures and examples in a single file."""

    name = "html"
    title = "HTML, one offline file with figures and examples"

    def write(self, results: Results, folder: Path) -> list[Path]:
        """Write `report.html`."""
        target = folder / "report.html"
        target.write_text(render_page(results), encoding="utf-8", newline="\n")
        return [target]


def render_page(results: Results) -> str:
    """Return the text of the page."""
    templates = open_page_templates()
    report = build_report(results)
    analysis = analyse(results)
    legend = {mark.kind: mark for mark in report.legend}
    budget = Budget()
    cells = [section.cells for section in report.sections]
    examples = Fork(
        lambda: (make_galleries(cells, legend, budget), budget), wanted=len(results.runs) >= _MANY
    )
    with examples:
        drawings = list_drawings(results)
        for drawing in drawings if examples.begun else ():
            _ = drawing.svg
        galleries, budget = examples.result()
    parts = {
        "matrices": make_matrices(analysis, legend),
        "class_tables": make_class_tables(analysis, legend),
        "strata_tables": make_strata_tables(analysis, legend),
        "sensitivity": make_sensitivity_lines(analysis, legend),
        "support_choices": make_support_choice_lines(analysis, legend),
        "ablations": make_ablation_tables(analysis, legend),
        "costs": collect_costs(analysis),
        **make_gallery_parts(galleries),
    }
    shown = {
        "changes": ("Changes", report.changes),
        "comparison": ("Comparison", parts["matrices"] or parts["class_tables"]),
        "difficulty": ("Difficulty", parts["strata_tables"]),
        "sensitivity": ("Supports", True),
        "ablations": ("Ablations", parts["ablations"]),
        "efficiency": ("Efficiency", True),
        "episodes": ("Episodes", any(parts["galleries"])),
        "provenance": ("Provenance", True),
    }
    return templates.get_template("report.html.j2").render(
        report=report,
        analysis=analysis,
        findings=state_findings(analysis),
        overview=make_overview(analysis, legend),
        methods=_list_methods(analysis, legend),
        deviations=list_deviations(results.cells),
        contents=[(name, title) for name, (title, there) in shown.items() if there],
        style=Markup(read_template_file("report.css")),
        drawings=drawings,
        budget=budget,
        **parts,
    )


@cache
def open_page_templates() -> Environment:
    """Open the templates of pages.  Everything is escaped except what this package draws or writes.

    They are opened once per process, because compiling them takes longer than a page of few runs.
    """
    templates = open_templates()
    templates.filters |= {
        "svg": lambda d: Markup(make_inline(d)),
        "pad": pad_decimals,
        "decimals": _count_decimals,
    }
    templates.filters["numbered"] = lambda values: list(enumerate(values))
    return templates


def pad_decimals(text: str, decimals: int) -> str:
    r"""Append figure spaces for missing decimals, so that right-aligned numbers have one decimal point.

    In an interval the last end is padded.  Words are returned unchanged, also if they contain numbers.

    Example:
        >>> pad_decimals("2.6", 2) == "2.6\u2007"
        True
    """
    if not decimals or text[:1].isalpha() or not (last_number := re.search(r"\d(?:\.(\d+))?(?=\D*$)", text)):
        return text
    short = decimals - len(last_number[1] or "")
    return text + _FIGURE_SPACE * max(0, short) + (_FIGURE_SPACE if not last_number[1] else "")


def _count_decimals(section: Section) -> int:
    """Return the largest number of decimals of a section's figures, ours or printed."""
    texts = [e.text for row in (*section.rows, *section.published) for e in row.entries]
    return max((len(t.partition(".")[2]) for t in texts), default=1)


@dataclass(frozen=True)
class _MethodLine:
    label: str
    backbone: str
    weights: str
    learnable: str
    parameters: str
    runs: int
    marks: str


def _list_methods(analysis: Analysis, legend: dict[str, LegendMark]) -> list[_MethodLine]:
    """Return one line per method that was run, in the order of the figures."""
    cells: dict[str, list[Cell]] = {}
    for cell in analysis.results.cells:
        cells.setdefault(analysis.name(cell), []).append(cell)
    order = {name: n for n, name in enumerate(analysis.methods)}
    lines = []
    for name in sorted(cells, key=lambda n: (order.get(n, len(order)), n)):
        run = first_run(cells[name][0])
        lines.append(
            _MethodLine(
                name,
                clean(run.backbone),
                clean(run.weights),
                f"{run.learnable / 1e6:.2f}",
                f"{run.parameters / 1e6:.2f}",
                sum(len(cell.folds) for cell in cells[name]),
                "".join(dict.fromkeys("".join(list_letters(cell, legend) for cell in cells[name]))),
            )
        )
    return lines
