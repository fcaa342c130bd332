r"""The report as LaTeX tables: `\input{report}`, or `\input{paper}` for the tables of the PMNet paper."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from jinja2 import Environment

from fssbench.api import Reporter, Results

from ..content.model import Entry, build_report
from ..content.tex import LatexCode, escape, open_tex_templates


class LatexReporter(Reporter):
    """Writes `report.tex`: one table per benchmark.  In style `paper` it also writes `paper.tex`, Tables 1-6."""

    name = "latex"
    title = "LaTeX tables (booktabs)"
    styles = ("paper",)

    def write(self, results: Results, folder: Path, *, style: str | None = None) -> list[Path]:
        """Write `report.tex`, and in style `paper` also `paper.tex`."""
        written = [folder / "report.tex"]
        written[0].write_text(_render_report(results), encoding="utf-8", newline="\n")
        if style == "paper":
            from ..paper.tables import make_paper_tables
            from ..paper.typesetting import typeset_tables

            written.append(folder / "paper.tex")
            written[1].write_text(typeset_tables(make_paper_tables(results)), encoding="utf-8", newline="\n")
        return written


def write_number(entry: Entry) -> str:
    """Return a figure with its interval in small print and its marks raised, in bold if the model says so."""
    text = escape(entry.text)
    if entry.bold:
        text = rf"\textbf{{{text}}}"
    if entry.marks:
        text += rf"\textsuperscript{{{entry.marks}}}"
    if entry.interval:
        text += rf" {{\tiny {entry.interval}}}"
    return text


def _make_label(identifier: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", identifier).strip("-").lower()


def _render_report(results: Results) -> str:
    return _open_report_templates().get_template("report.tex.j2").render(report=build_report(results))


@cache
def _open_report_templates() -> Environment:
    """Open the templates of `report.tex` once per process."""
    templates = open_tex_templates()
    templates.filters["number"] = lambda entry: LatexCode(write_number(entry))
    templates.filters["label"] = lambda text: LatexCode(_make_label(text))
    templates.filters["columns"] = lambda columns: LatexCode("r" * len(columns))
    return templates
