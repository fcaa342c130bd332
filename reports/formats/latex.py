r"""The report as LaTeX tables: `\input{report}`, `\input{details}`, or `\input{paper}` for the PMNet paper's tables."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from jinja2 import Environment

from fssbench.api import Reporter, Results

from ..content.analysis import analyse
from ..content.model import Entry, build_report
from ..content.tex import LatexCode, escape, open_tex_templates
from ..sections.details import make_detail_tables


class LatexReporter(Reporter):
    """Writes `report.tex`, one table per benchmark, and `details.tex`, the tables of strata and of supports.

    In style `paper` it also writes `paper.tex`, Tables 1-6.
    """

    name = "latex"
    title = "LaTeX tables (booktabs)"
    styles = ("paper",)
    sometimes = ("details.tex",)

    def write(self, results: Results, folder: Path, *, style: str | None = None) -> list[Path]:
        """Write `report.tex`, `details.tex` if it has a table, and in style `paper` also `paper.tex`."""
        texts = {"report.tex": _render_report(results)}
        if style == "paper":
            from ..paper.tables import make_paper_tables
            from ..paper.typesetting import typeset_tables

            texts["paper.tex"] = typeset_tables(make_paper_tables(results))
        texts["details.tex"] = _render_details(results)
        for name, text in texts.items():
            if text:
                (folder / name).write_text(text, encoding="utf-8", newline="\n")
        return [folder / name for name, text in texts.items() if text]


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
    report = build_report(results)
    return _open_templates().get_template("report.tex.j2").render(report=report, legend=report.legend)


def _render_details(results: Results) -> str:
    """Return the tables of strata and of supports; empty text if there are none."""
    report = build_report(results)
    tables = make_detail_tables(analyse(results), {mark.kind: mark for mark in report.legend})
    if not any(tables.values()):
        return ""
    return _open_templates().get_template("details.tex.j2").render(legend=report.legend, **tables)


@cache
def _open_templates() -> Environment:
    """Open the templates of this file once per process."""
    templates = open_tex_templates()
    templates.filters["number"] = lambda entry: LatexCode(write_number(entry))
    templates.filters["label"] = lambda text: LatexCode(_make_label(text))
    templates.filters["columns"] = lambda columns: LatexCode("r" * len(columns))
    return templates
