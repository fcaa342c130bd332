"""One HTML file: no script, no address, readable offline, on a phone, in the dark and on paper."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fssbench.api import Reporter, Results

from .figures.catalogue import drawings
from .figures.svg import inline
from .gallery import Budget, gallery
from .model import build


class HtmlReporter(Reporter):
    """`report.html`: tables, figures and examples in a single file."""

    name = "html"
    title = "HTML, one offline file with figures and examples"

    def write(self, results: Results, folder: Path) -> list[Path]:
        """Write `report.html`."""
        target = folder / "report.html"
        target.write_text(render(results), encoding="utf-8")
        return [target]


def render(results: Results) -> str:
    """The page as text."""
    # Everything is escaped; only what is marked below, which this package draws itself, is not.
    environment = Environment(
        loader=PackageLoader(__package__ or "fssbench.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = lambda drawing: Markup(inline(drawing))
    report = build(results)
    legend = {mark.kind: mark for mark in report.legend}
    budget = Budget()
    style = (resources.files(__package__) / "templates" / "report.css").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(
        report=report,
        style=Markup(style),
        drawings=drawings(results),
        galleries=[gallery(section.cells, legend, budget) for section in report.sections],
        budget=budget,
    )
