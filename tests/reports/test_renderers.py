"""Every format: what it holds, that it keeps its shape, and that hostile names stay text."""

from __future__ import annotations

import base64
import csv
import html
import io
import re
import shutil
import subprocess
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from fssbench.reports import gallery as gallery_module
from fssbench.reports.csv_report import CsvReporter, guard
from fssbench.reports.figures import bars, dots, radar, scatter, sizes
from fssbench.reports.figures.dots import Dot
from fssbench.reports.figures.drawing import Drawing
from fssbench.reports.figures.svg import inline
from fssbench.reports.gallery import Budget, gallery
from fssbench.reports.html import HtmlReporter, render
from fssbench.reports.latex import LatexReporter
from fssbench.reports.markdown import MarkdownReporter
from fssbench.reports.marks import collect
from fssbench.reports.text import clean
from PIL import Image
from report_factory import make_cell, make_results, make_run, with_panels

from fssbench.api import Estimate, Results

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
    """Element names in order, with their attribute names, and all text; of a drawing, only the names."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[object] = []
        self.text: list[str] = []
        self.addresses: list[str] = []
        self.drawn: set[str] = set()
        self.drawing = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.drawing:  # how many ticks there are hangs on the length of the labels
            self.drawn.add(tag)
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


def parsed(page: str) -> Tree:
    tree = Tree()
    tree.feed(page)
    tree.close()
    return tree


def hostile(text: str) -> Results:
    """One run in which every piece of foreign text is `text`."""
    run = make_run(
        label=text,
        slug=text,
        backbone=text,
        weights=text,
        protocol=text,
        class_names=(text,) * 5,
        marks=(f"sample ({text})",),
        manifest={"context": {"made": text, "packages": {"x": text}}},
        benchmark="some-data",
    )
    cell = make_cell([run])
    return Results((run,), (cell,), 200, 0, notes=(text,))


def undrawn(drawing: Drawing) -> str:
    """In place of a figure, which takes its time: `test_drawings_of_hostile_names_are_harmless` has them."""
    return f"<svg><title>{html.escape(drawing.title)}</title></svg>"


@pytest.fixture(scope="module")
def benign() -> Tree:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fssbench.reports.html.inline", undrawn)
        return parsed(render(hostile("benign")))


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_html_tree_is_that_of_benign_names(text: str, benign: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fssbench.reports.html.inline", undrawn)
    tree = parsed(render(hostile(text)))
    assert tree.elements == benign.elements
    assert tree.drawn == {"title"}
    shown = "".join(tree.text)
    assert not set(shown) & {"\x00", "\x1b", "\u202e", "\u2028"}
    if text.isascii() and text.isprintable():
        assert text in shown


def test_drawings_of_hostile_names_are_harmless() -> None:
    """One figure of each kind, with every piece of foreign text in it."""
    dot = Dot(Estimate(50.0, 40.0, 60.0), hollow=False)
    value = Estimate(50.0, 40.0, 60.0)
    names = list(NASTY)
    kinds = {
        "dots": partial(dots.draw, names, {n: [dot] * len(names) for n in names[:6]}),
        "bars": partial(bars.draw, names, {n: [value] * len(names) for n in names[:2]}),
        "radar": partial(radar.draw, names[:10], {n: [value] * 10 for n in names[10:13]}, 100),
        "scatter": partial(scatter.draw, np.array([1.0]), np.array([2.0]), (names[0], names[1])),
        "sizes": partial(sizes.draw, ["below 1 %"], {1: [3]}, {1: {names[0]: [value]}}, names[:1]),
    }
    for name, make in kinds.items():
        svg = inline(Drawing(name, "x", clean("".join(NASTY)), clean("".join(NASTY)), make))
        tree = parsed(svg)
        assert tree.drawn <= {
            "title",
            "desc",
            "defs",
            "style",
            "clippath",
            "g",
            "path",
            "rect",
            "text",
            "tspan",
            "use",
        }
        shown = "".join(tree.text)
        assert not set(shown) & {"\x00", "\x1b", "\u202e", "\u2028"}
        assert "<script>alert(1)</script>" in shown
        assert not re.search(
            r"://|<script|onerror=", re.sub(r"&lt;.*?&gt;|http://e.example[/x.png]*", "", svg)
        )


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_markdown_keeps_its_columns(text: str, tmp_path: Path) -> None:
    def shape(word: str) -> list[int]:
        (path,) = MarkdownReporter().write(hostile(word), tmp_path)
        lines = path.read_text(encoding="utf-8").split("\n")
        return [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines]

    assert shape(text) == shape("benign")
    MarkdownReporter().write(hostile(text), tmp_path)
    written = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert not re.search(r"<(?!/?sup>)", written)
    assert not set(written) & {"\x00", "\x1b", "\u202e"}


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_latex_executes_nothing_foreign(text: str, tmp_path: Path) -> None:
    def skeleton(word: str) -> tuple[list[str], int, int]:
        (path,) = LatexReporter().write(hostile(word), tmp_path)
        written = path.read_text(encoding="utf-8")
        commands = re.findall(r"\\([a-zA-Z]+)", written)
        depth = len(re.findall(r"(?<!\\){", written)) - len(re.findall(r"(?<!\\)}", written))
        harmless = re.compile(r"text\w+|ldots|langle|rangle")
        return [c for c in commands if not harmless.fullmatch(c)], depth, written.count("\n")

    assert skeleton(text) == skeleton("benign")
    LatexReporter().write(hostile(text), tmp_path)
    written = (tmp_path / "report.tex").read_text(encoding="utf-8")
    assert all(c < "\x80" or "À" <= c <= "ÿ" for c in written)


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_csv_has_no_formula_and_all_its_fields(text: str, tmp_path: Path) -> None:
    path, _ = CsvReporter().write(hostile(text), tmp_path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == ["mean", "run"]
    for row in rows:
        assert None not in row
        for name in ("label", "backbone", "weights", "protocol", "marks", "run"):
            assert row[name].lstrip()[:1] not in {"=", "+", "-", "@"}


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX compiler here")
def test_latex_compiles(tmp_path: Path) -> None:
    LatexReporter().write(make_results(marks=("miniature",)), tmp_path)
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\\input{report}\\end{document}"
    )
    subprocess.run(["pdflatex", "-halt-on-error", "paper.tex"], cwd=tmp_path, check=True, timeout=60)


def test_html_is_one_offline_file(tmp_path: Path) -> None:
    results = make_results(folder=tmp_path, marks=("miniature",))
    page = render(results)
    tree = parsed(page)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
    assert not {"script", "link", "iframe", "object", "base", "form"} & {e[0] for e in tree.elements if e[0]}
    assert all(a.startswith(("#", "data:image/jpeg;base64,")) for a in tree.addresses)
    assert "://" not in page
    assert "url(" not in re.sub(r"url\(#", "", page)
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    targets = {a[1:] for a in tree.addresses if a.startswith("#")}
    assert targets <= set(ids)


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    results = make_results(folder=tmp_path)
    assert render(results) == render(results)


def test_marks_stand_in_every_format(tmp_path: Path) -> None:
    results = make_results(marks=("miniature",))
    for reporter, told in (
        (HtmlReporter, "<sup>M</sup>"),
        (MarkdownReporter, "<sup>M</sup>"),
        (LatexReporter, "\\textsuperscript{M}"),
        (CsvReporter, "miniature"),
    ):
        path, *_ = reporter().write(results, tmp_path)
        text = path.read_text(encoding="utf-8")
        # at 16 numbers each of the two methods that bear no other mark, or on each of 42 lines
        assert text.count(told) >= 32, path
        if reporter is not CsvReporter:
            assert "procedural miniature data: not benchmark numbers" in text


def test_each_mark_has_its_own_line_in_markdown(tmp_path: Path) -> None:
    results = make_results(marks=("miniature", "resized (64 px)"))
    (path,) = MarkdownReporter().write(results, tmp_path)
    lines = path.read_text(encoding="utf-8").splitlines()
    marked = [i for i, line in enumerate(lines) if line.startswith("> - <sup>")]
    assert len(marked) >= 3
    assert marked == list(range(marked[0], marked[0] + len(marked)))
    assert all(lines[i].count("<sup>") == 1 for i in marked)
    after, statistics = lines[marked[-1] + 1 : marked[-1] + 3]
    assert after == ""
    assert statistics.startswith("mIoU: per class")


def test_csv_is_unrounded(tmp_path: Path) -> None:
    results = make_results()
    path, _ = CsvReporter().write(results, tmp_path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(results.cells) + len(results.runs)
    assert float(rows[0]["miou"]) == results.cells[0].miou.value
    assert rows[0]["paper_miou"] == "65.4"
    runs = [row for row in rows if row["row"] == "run"]
    assert {row["run"] for row in runs} == {run.slug for run in results.runs}
    assert int(runs[0]["episodes"]) == 200


def test_nan_is_never_a_number(tmp_path: Path) -> None:
    run = replace(make_run(episodes=1), seconds=float("nan"))
    cell = make_cell([run])
    results = Results((run,), (cell,), 200, 0)
    for reporter in (HtmlReporter, MarkdownReporter, LatexReporter, CsvReporter):
        path, *_ = reporter().write(results, tmp_path)
        assert not re.search(r"\bnan\b", path.read_text(encoding="utf-8"), re.IGNORECASE)


def test_guard_leaves_honest_text() -> None:
    assert [guard(t) for t in ("pmnet", "a-b", " =1", "-x")] == ["pmnet", "a-b", "' =1", "'-x"]


def test_examples_line_methods_up(tmp_path: Path) -> None:
    runs = [with_panels(make_run(m, fold=f), tmp_path) for m in ("pmnet", "hsnet") for f in (0, 1)]
    cells = tuple(make_cell(runs[i : i + 2]) for i in (0, 2))
    budget = Budget()
    examples = gallery(cells, {}, budget)
    assert len(examples) == 6
    assert [p.caption for p in examples[0].pictures] == [
        "support",
        "query",
        "truth",
        "pmnet, IoU 40.0",
        "hsnet, IoU 40.0",
    ]
    assert "fold 0" in examples[0].caption
    assert "fold 1" in examples[1].caption
    assert (budget.unreadable, budget.dropped) == (0, 0)


def test_iou_of_an_example_carries_its_marks(tmp_path: Path) -> None:
    run = with_panels(make_run(marks=("untrained", "miniature")), tmp_path)
    example = gallery((make_cell([run]),), collect(run.marks), Budget())[0]
    assert [p.marks for p in example.pictures] == ["", "", "", "UM"]


def test_truth_is_tinted_and_ignored_pixels_are_grey(tmp_path: Path) -> None:
    run = with_panels(make_run(), tmp_path)
    mask = Image.new("L", (96, 96), 0)
    mask.paste(255, (0, 0, 32, 96))
    mask.paste(128, (32, 0, 64, 96))
    Image.new("RGB", (96, 96), (0, 0, 255)).save(run.panels[0].query)
    mask.save(run.panels[0].truth)
    example = gallery((make_cell([run]),), {}, Budget())[0]
    truth = next(p for p in example.pictures if p.caption == "truth")
    image = Image.open(io.BytesIO(base64.b64decode(truth.uri.partition(",")[2])))
    tinted, grey, plain = np.asarray(image).astype(int)[48, [16, 48, 80]]
    assert tinted[0] > 90 > plain[0]
    assert max(grey) - min(grey) < 12
    assert plain[2] > 150


def test_examples_stay_within_their_budget(tmp_path: Path) -> None:
    cell = make_cell([with_panels(make_run(), tmp_path)])
    budget = Budget(left=10_000)
    examples = gallery((cell,), {}, budget)
    assert sum(len(p.uri) for e in examples for p in e.pictures) <= 10_000
    assert budget.dropped == 3 - len(examples)
    assert budget.dropped > 0


def test_no_file_outside_the_run_is_embedded(tmp_path: Path) -> None:
    run = with_panels(make_run(), tmp_path)
    inner = replace(run, path=tmp_path / "elsewhere")
    budget = Budget()
    assert gallery((make_cell([inner]),), {}, budget) == ()
    assert budget.unreadable > 0


def test_paths_may_start_at_the_run_or_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = with_panels(make_run(), Path("runs"))
    assert not here.panels[0].query.is_absolute()
    inside = replace(
        here,
        panels=tuple(
            replace(
                p,
                query=p.query.relative_to(here.path),
                truth=p.truth.relative_to(here.path),
                prediction=p.prediction.relative_to(here.path),
                supports=tuple((a.relative_to(here.path), b.relative_to(here.path)) for a, b in p.supports),
            )
            for p in here.panels
        ),
    )
    budget = Budget()
    assert gallery((make_cell([here]),), {}, budget) == gallery((make_cell([inside]),), {}, budget)
    assert budget.unreadable == 0


def test_broken_example_is_told_and_stops_nothing(tmp_path: Path) -> None:
    run = with_panels(make_run(), tmp_path)
    run.panels[0].prediction.write_bytes(b"no image")
    run.panels[1].query.unlink()
    cell = make_cell([run])
    page = render(Results((run,), (cell,), 200, 0))
    assert re.search(r"\d example images could not be read", page)
    assert gallery_module.PER_CELL == 6


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium here")
@pytest.mark.timeout(120)
def test_chromium_shows_it_without_complaint(tmp_path: Path) -> None:
    (path,) = HtmlReporter().write(make_results(folder=tmp_path / "runs", marks=("miniature",)), tmp_path)
    answer = subprocess.run(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert "CONSOLE" not in answer.stderr
    assert "<title>fssbench report</title>" in answer.stdout
    assert "skip" in answer.stdout
