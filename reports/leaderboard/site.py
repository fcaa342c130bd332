"""The site of `fssbench leaderboard`: pages for a disk or a web server, without links to other sites."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

from jinja2 import Environment
from markupsafe import Markup

from fssbench import __version__
from fssbench.api import Cell, Results, build_legend, with_names

from ..content.marks import collect_marks
from ..content.model import build_report
from ..content.templates import read_template_file
from ..formats.html import open_page_templates
from ..sections.drawings import list_drawings
from .board import make_board
from .methods import make_method_page
from .names import name_page

INDEX = "index.html"


def render_site(results: Results) -> dict[str, str]:
    """Return the text of every page by its file name."""
    pages = _Pages(results)
    texts = {INDEX: pages.index()}
    for name in dict.fromkeys(cell.benchmark for cell in results.cells):
        texts[name_page("benchmark", name)] = pages.benchmark(name)
    for name in dict.fromkeys(cell.method for cell in results.cells):
        texts[name_page("method", name)] = pages.method(name)
    return texts


class _Pages:
    """Renders the pages of one site."""

    def __init__(self, results: Results) -> None:
        self.results = results = with_names(results)
        self.legend = build_legend(collect_marks(results))
        self.drawings = list_drawings(results)
        names = dict.fromkeys(cell.method for cell in results.cells)
        self.methods = {name: make_method_page(name, results, self.legend) for name in names}
        self.templates: Environment = open_page_templates()
        self.style = Markup(read_template_file("report.css") + read_template_file("leaderboard.css"))

    def index(self) -> str:
        """Render the board, with links to all pages."""
        script = read_template_file("leaderboard.js")
        shown = make_board(self.results)
        return self._render(
            "leaderboard.html.j2",
            report=build_report(self.results),
            board=shown,
            benchmarks=dict.fromkeys((c.title, c.benchmark, c.page) for c in shown.columns),
            methods=[(told.title, name_page("method", name)) for name, told in self.methods.items()],
            script=Markup(script),
            # the one script that the browser may run, by its bytes
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )

    def benchmark(self, name: str) -> str:
        """Render the page of a benchmark: its section of a report, with links to its methods."""
        cells = tuple(cell for cell in self.results.cells if cell.benchmark == name)
        ran = dict.fromkeys(cell.method for cell in cells)
        return self._render(
            "leaderboard_benchmark.html.j2",
            report=build_report(_select_cells(self.results, cells)),
            drawings=self.drawings,
            methods=[(self.methods[method].title, name_page("method", method)) for method in ran],
        )

    def method(self, name: str) -> str:
        """Render the page of a method: all its figures, its settings and its card."""
        part = _select_cells(self.results, tuple(cell for cell in self.results.cells if cell.method == name))
        told = make_method_page(name, part, build_legend(collect_marks(part)))
        return self._render("leaderboard_method.html.j2", report=build_report(part), method=told)

    def _render(self, template: str, **values: object) -> str:
        return self.templates.get_template(template).render(
            style=self.style, index=INDEX, version=__version__, **values
        )


def _select_cells(results: Results, cells: tuple[Cell, ...]) -> Results:
    """Return the results that belong to some cells."""
    kept = {run.identity for cell in cells for run in cell.folds.values()}
    runs = tuple(run for run in results.runs if run.identity in kept)
    return replace(results, cells=cells, runs=runs, notes=(), changes=None)
