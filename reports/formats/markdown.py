"""The report as GitHub-flavoured Markdown.  Foreign names cannot break its tables."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from fssbench.api import Reporter, Results

from ..content.analysis import analyse
from ..content.model import Entry, build_report
from ..content.templates import open_templates
from ..sections.details import make_detail_tables

_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escape(text: object) -> str:
    r"""Return text that Markdown prints literally, also inside a table cell.

    Example:
        >>> escape("a|b <i> *c*")
        'a\\|b &lt;i&gt; \\*c\\*'
    """
    literal = re.sub(r"([\\`*_\[\]|~$#!{}])", r"\\\1", str(text))
    return re.sub(r"[&<>]", lambda m: _HTML[m[0]], literal)


def write_number(entry: Entry) -> str:
    """Return a figure with its marks and interval, in bold if the model says so."""
    text = f"**{entry.text}**" if entry.bold else entry.text
    marks = f"<sup>{entry.marks}</sup>" if entry.marks else ""
    return f"{text}{marks} {entry.interval}".rstrip()


class MarkdownReporter(Reporter):
    """Writes `report.md`: tables, comparisons and provenance."""

    name = "markdown"
    title = "Markdown tables"

    def write(self, results: Results, folder: Path) -> list[Path]:
        """Write `report.md`."""
        report = build_report(results)
        analysis, legend = analyse(results), {mark.kind: mark for mark in report.legend}
        target = folder / "report.md"
        template = _open_markdown_templates().get_template("report.md.j2")
        text = template.render(
            report=report,
            **make_detail_tables(analysis, legend),
        )
        target.write_text(
            text,
            encoding="utf-8",
            newline="\n",
        )
        return [target]


@cache
def _open_markdown_templates() -> Environment:
    """Open the templates of Markdown files once per process, because compiling them takes most of a report's time."""
    # escaping for HTML is for any value that a template forgets to pass through `md`
    templates = open_templates(keep_trailing_newline=True)
    templates.filters["md"] = lambda text: Markup(escape(text))
    templates.filters["number"] = lambda entry: Markup(write_number(entry))
    return templates
