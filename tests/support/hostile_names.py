"""Names that contain markup or commands, results with such names, and a parser for pages."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

from manifests import make_manifest, record_marks
from report_factory import make_cell, make_run

from fssbench.api import Cell, Results, RunResult

NASTY = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "</title><h1>x",
    "</style><b>",
    "</svg><script>",
    "--><script>",
    "]]>",
    "&lt;b&gt; &amp;",
    "a|b||c",
    "`code` ``",
    "*bold* _it_ ~~x~~",
    "[link](http://e.example)",
    "![i](http://e.example/x.png)",
    "<!-- c -->",
    "# head",
    "- item",
    "\\input{/etc/passwd}",
    "\\write18{id}",
    "\\end{table*}",
    "_ & % $ # { } ~ ^ \\",
    "$x^2$ $\\frac",
    "^^5cinput",
    "=cmd()",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "[/red]",
    "a[b]",
    "[bold]x",
    "\x1b[31mred",
    "\x00nul",
    "\u202egnp.exe",
    "\u2028line",
    "a\nb\r\nc",
    "{{ 7*7 }}",
    "{% raw %}",
    "<< 7*7 >>",
    "'; DROP TABLE x; --",
    "日本語",
    "é" * 300,
)


class Tree(HTMLParser):
    """Collects all text and all elements of a page with their attribute names; in a drawing only element names."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[object] = []
        self.text: list[str] = []
        self.addresses: list[str] = []
        self.drawing_elements: set[str] = set()
        self.drawing = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.drawing:  # the number of ticks depends on the length of the labels
            self.drawing_elements.add(tag)
            assert not [name for name, _ in attrs if name.startswith("on")]
        else:
            self.elements.append((tag, tuple(sorted(name for name, _ in attrs))))
        self.drawing |= tag == "svg"
        self.addresses += [
            v or "" for name, v in attrs if name in {"src", "href", "xlink:href", "action", "data"}
        ]

    def handle_endtag(self, tag: str) -> None:
        self.drawing &= tag != "svg"
        if not self.drawing:
            self.elements.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parse_page(page: str) -> Tree:
    tree = Tree()
    tree.feed(page)
    tree.close()
    return tree


@cache
def _make_benign() -> tuple[RunResult, Cell]:
    """Make the run whose texts are replaced, and its cell; their figures do not depend on any text."""
    run = make_run(benchmark="some-data")
    return run, make_cell([run])


def make_hostile_results(text: str) -> Results:
    """Make results of one run in which every text from outside is `text`."""
    benign, cell = _make_benign()
    names = {"label": text, "backbone": text, "protocol": text}
    run = record_marks(
        replace(
            benign,
            **names,
            slug=text,
            weights=text,
            class_names=(text,) * 5,
            marks=(f"sample ({text})",),
            manifest=make_manifest(context={"made": text, "packages": {"x": text}}),
        )
    )
    cell = replace(cell, **names, folds={run.fold: run}, marks=run.marks)
    return Results((run,), (cell,), 20, 0, notes=(text,))
