"""Every format: what it holds, that it keeps its shape, and that hostile names stay text."""

from __future__ import annotations

import csv
import html
import io
import re
import shutil
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fssbench.reports.content.text import clean
from fssbench.reports.figures import bars, dots, radar, scatter, sizes
from fssbench.reports.figures.dots import Dot
from fssbench.reports.figures.drawing import Drawing
from fssbench.reports.figures.svg import make_inline
from fssbench.reports.formats import csv_report
from fssbench.reports.formats.csv_report import CsvReporter, guard_formula
from fssbench.reports.formats.html import HtmlReporter, render_page
from fssbench.reports.formats.latex import LatexReporter
from fssbench.reports.formats.markdown import MarkdownReporter
from hostile_names import NASTY, Tree, make_hostile_results, parse_page
from report_factory import make_cell, make_results, make_run, share_results

from fssbench.api import EPISODE_COLUMNS, Estimate, Reporter, Results, column_names


def undrawn(drawing: Drawing) -> str:
    """In place of a figure, which takes its time: `test_drawings_of_hostile_names_are_harmless` has them."""
    return f"<svg><title>{html.escape(drawing.title)}</title></svg>"


@pytest.fixture(scope="module")
def benign() -> Tree:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fssbench.reports.formats.html.make_inline", undrawn)
        return parse_page(render_page(make_hostile_results("benign")))


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_html_tree_is_that_of_benign_names(text: str, benign: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fssbench.reports.formats.html.make_inline", undrawn)
    tree = parse_page(render_page(make_hostile_results(text)))
    assert tree.elements == benign.elements
    assert tree.drawing_elements == {"title"}
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
        svg = make_inline(Drawing(name, "x", clean("".join(NASTY)), clean("".join(NASTY)), make))
        tree = parse_page(svg)
        assert tree.drawing_elements <= {
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
        markup = re.sub(r">[^<]*<", "><", svg)  # labels are cut anywhere; here only tags count
        assert not re.search(r"://|<script|onerror=", markup)


def count_columns(markdown: str) -> list[int]:
    """Count the bars of each line that are no text."""
    return [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in markdown.split("\n")]


def read_commands(latex: str) -> tuple[list[str], int, int]:
    """Read the commands that are no characters, how many braces stay open, and the number of lines."""
    commands = re.findall(r"\\([a-zA-Z]+)", latex)
    depth = len(re.findall(r"(?<!\\){", latex)) - len(re.findall(r"(?<!\\)}", latex))
    harmless = re.compile(r"text\w+|ldots|langle|rangle")
    return [c for c in commands if not harmless.fullmatch(c)], depth, latex.count("\n")


def write_hostile(reporter: Reporter, word: str, folder: Path) -> str:
    """Write the report of results that have a word in every name, and read it."""
    paths = reporter.write(make_hostile_results(word), folder)
    return "".join(path.read_text(encoding="utf-8") for path in paths)


@pytest.fixture(scope="module")
def benign_markdown(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_hostile(MarkdownReporter(), "benign", tmp_path_factory.mktemp("markdown"))


@pytest.fixture(scope="module")
def benign_latex(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_hostile(LatexReporter(), "benign", tmp_path_factory.mktemp("latex"))


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_markdown_keeps_its_columns(text: str, benign_markdown: str, tmp_path: Path) -> None:
    written = write_hostile(MarkdownReporter(), text, tmp_path)
    assert count_columns(written) == count_columns(benign_markdown)
    assert not re.search(r"<(?!/?sup>)", written)
    assert not set(written) & {"\x00", "\x1b", "\u202e"}


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_latex_executes_nothing_foreign(text: str, benign_latex: str, tmp_path: Path) -> None:
    written = write_hostile(LatexReporter(), text, tmp_path)
    assert read_commands(written) == read_commands(benign_latex)
    assert all(c < "\x80" or "À" <= c <= "ÿ" for c in written)


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_csv_has_no_formula_and_all_its_fields(text: str, tmp_path: Path) -> None:
    path, _ = CsvReporter().write(make_hostile_results(text), tmp_path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == ["mean", "run"]
    for row in rows:
        assert None not in row
        for name in ("label", "backbone", "weights", "protocol", "marks", "run"):
            assert row[name].lstrip()[:1] not in {"=", "+", "-", "@"}


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX compiler here")
def test_latex_compiles(tmp_path: Path) -> None:
    LatexReporter().write(share_results(("miniature",)), tmp_path)
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\\input{report}\\end{document}"
    )
    subprocess.run(["pdflatex", "-halt-on-error", "paper.tex"], cwd=tmp_path, check=True, timeout=60)


def test_html_is_one_offline_file(whole_page: Path) -> None:
    page = whole_page.read_text(encoding="utf-8")
    tree = parse_page(page)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
    assert not {"script", "link", "iframe", "object", "base", "form"} & {e[0] for e in tree.elements if e[0]}
    pictures = ("data:image/jpeg;base64,", "data:image/png;base64,")
    assert all(a.startswith(("#", *pictures)) for a in tree.addresses)
    assert "://" not in page
    assert "url(" not in re.sub(r"url\((#|data:image/jpeg;base64,[A-Za-z0-9+/=]+\))", "", page)
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    targets = {a[1:] for a in tree.addresses if a.startswith("#")}
    assert targets <= set(ids)


def test_marks_stand_in_every_format(whole_page: Path, tmp_path: Path) -> None:
    for reporter in (MarkdownReporter, LatexReporter, CsvReporter):
        reporter().write(share_results(("miniature",)), tmp_path)
    for path, told in (
        (whole_page, "<sup>M</sup>"),
        (tmp_path / "report.md", "<sup>M</sup>"),
        (tmp_path / "report.tex", "\\textsuperscript{M}"),
        (tmp_path / "results.csv", "miniature"),
    ):
        text = path.read_text(encoding="utf-8")
        # at 16 numbers each of the two methods that bear no other mark, or on each of 42 lines
        assert text.count(told) >= 32, path
        if path.suffix != ".csv":
            assert "the data are procedural drawings, so the figures are not benchmark figures" in text


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
    assert statistics.startswith("mIoU is")


def test_csv_rows_put_together_are_those_of_the_module_csv(tmp_path: Path) -> None:
    texts = ["a", "a,b", 'a "b"', "", "100 %s", "two\nlines", "end\r", " é", "'=1"]
    columns = dict.fromkeys(column_names(EPISODE_COLUMNS), texts)
    columns |= {
        "run": "50 %, a",
        "fold": 3,
        "index": np.arange(9),
        "iou": np.array([1e-7, np.nan, *range(7)]),
    }
    rows = [
        [
            "50 %, a" if name == "run" else 3 if name == "fold" else n if name == "index" else value
            for name, value in zip(
                columns,
                (["1e-07", "", *map(float, range(7))][n] if name == "iou" else text for name in columns),
                strict=True,
            )
        ]
        for n, text in enumerate(texts)
    ]
    wanted = io.StringIO()
    csv.writer(wanted, lineterminator="\n").writerows([list(columns), *rows])
    path = csv_report._write_episodes(tmp_path / "episodes.csv", [columns])
    assert path.read_bytes().decode() == wanted.getvalue()


def test_csv_is_unrounded(tmp_path: Path) -> None:
    results = share_results()
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
    assert [guard_formula(t) for t in ("pmnet", "a-b", " =1", "-x")] == ["pmnet", "a-b", "' =1", "'-x"]
