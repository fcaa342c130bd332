"""`--style paper`: the paper's tables as printed, ours beside them, and a file that LaTeX takes."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fssbench.reports.content.best_and_ties import find_best_and_tied
from fssbench.reports.content.published import MEAN, read_published
from fssbench.reports.formats.latex import LatexReporter
from fssbench.reports.paper.layouts import AVERAGE, LAYOUTS
from fssbench.reports.paper.tables import Line, Number, PaperTable, make_paper_tables
from hostile_names import NASTY, make_hostile_results
from manifests import make_manifest
from report_factory import flag_best, make_cell, make_run, share_results

from fssbench.analysis.comparisons import verdicts
from fssbench.api import Cell, Results

PLACES = {
    "pascal5i": (4, (1, 5)),
    "coco20i:interleaved": (4, (1, 5)),
    "coco20i-to-pascal5i:boudiaf": (4, (1, 5)),
    "pascal-to-deepglobe": (1, (1, 5)),
    "pascal-to-isic2018:isic1": (1, (1, 5)),
    "pascal-to-chestxray:lung566": (1, (1, 5)),
    "pascal-to-fss1000": (1, (1, 5)),
    "coco20i-to-fss1000": (4, (1,)),
    "pascal5i-to-suim:suim7": (4, (1,)),
}
TITLES = {"pmnet": "PMNet", "hsnet": "HSNet", "panet": "PANet"}


def cells_of(benchmark: str, folds: int, shot: int, **changes: object) -> list[Cell]:
    group = []
    for method, title in TITLES.items():
        kind = "prototype" if method == "panet" else "pixelwise"
        manifest = make_manifest(context={"title": title, "kind": kind})
        marks = ("miniature", "untrained") if method == "hsnet" else ("miniature",)
        given = {"episodes": 40, "marks": marks, "manifest": manifest} | changes
        group.append(make_cell([make_run(method, benchmark, f, shot, **given) for f in range(folds)]))
    return flag_best(group)


def gathered(cells: list[Cell]) -> Results:
    return Results(tuple(r for c in cells for r in c.folds.values()), tuple(cells), 100, 0)


@pytest.fixture(scope="module")
def everything() -> Results:
    cells = [c for name, (folds, shots) in PLACES.items() for k in shots for c in cells_of(name, folds, k)]
    ablated = make_run(
        "pmnet",
        "pascal5i",
        0,
        1,
        label="pmnet (w/o b3dconv)",
        ablations=("b3dconv",),
        identity="a",
        episodes=40,
    )
    return gathered([*cells, make_cell([ablated], missing=(1, 2, 3))])


@pytest.fixture(scope="module")
def result(everything: Results) -> dict[int, PaperTable]:
    return {table.layout.number: table for table in make_paper_tables(everything)}


def line(table: PaperTable, method: str, backbone: str = "resnet50", *, part: int = 0) -> Line:
    (one,) = [x for x in table.blocks[part].lines if x.ours and x.method == method and x.backbone == backbone]
    return one


def test_every_printed_number_stands_where_the_paper_has_it(result: dict[int, PaperTable]) -> None:
    assert list(result) == [1, 2, 3, 4, 5, 6]
    shown = []
    for number, table in result.items():
        for block in table.blocks:
            for row in (x for x in block.lines if not x.ours):
                for column, figure in zip(block.part.columns, row.numbers, strict=True):
                    if figure.text != "-":
                        key = (row.method, row.venue, row.backbone, row.kind)
                        place = (column.benchmark, column.shot, column.fold)
                        shown.append((number, *place, *key, figure.text, row.learnable.rstrip("*")))
    printed = []
    for p in read_published():
        key = (p.method, p.venue, p.backbone, p.type)
        printed.append((p.table, p.base, p.shot, p.fold, *key, p.value, p.learnable_millions or "-"))
    assert sorted(shown) == sorted(printed)


@pytest.mark.parametrize(
    ("number", "heads"),
    [
        (1, ["Fold-0", "Fold-1", "Fold-2", "Fold-3", "mIoU"] * 2),
        (2, ["Fold-0", "Fold-1", "Fold-2", "Fold-3", "mIoU"] * 2),
        (3, ["1-shot", "5-shot"] * 5),
        (4, ["Fold-0", "Fold-1", "Fold-2", "Fold-3", "mIoU"]),
        (5, ["Fold-0", "Fold-1", "Fold-2", "Fold-3", "mIoU"]),
        (6, ["Fold-0", "Fold-1", "Fold-2", "Fold-3", "Mean"]),
    ],
)
def test_columns_are_the_paper_s(number: int, heads: list[str]) -> None:
    layout = LAYOUTS[number - 1]
    for part in layout.parts:
        assert [c.head for c in part.columns] == heads
    assert [layout.number, layout.kind, bool(layout.learnable), layout.backbone] == [
        number,
        number == 1,
        number <= 2,
        number <= 3,
    ]


def test_best_printed_number_of_a_backbone_is_bold(result: dict[int, PaperTable]) -> None:
    bold = [
        (x.method, n.text)
        for x in result[1].blocks[0].lines
        if not x.ours and x.backbone == "resnet50"
        for n in (x.numbers[4], x.numbers[9])
        if n.bold
    ]
    assert bold == [("FECANet", "67.4"), ("PMNet", "71.3")]
    assert not any(n.bold or n.underlined for x in result[6].lines for n in x.numbers)


def test_rows_stand_with_their_backbone_and_kind(result: dict[int, PaperTable]) -> None:
    order = [(x.backbone, x.kind) for x in result[1].blocks[0].lines]
    assert list(dict.fromkeys(order)) == [
        ("resnet50", "prototype"),
        ("resnet50", "pixelwise"),
        ("resnet101", "prototype"),
        ("resnet101", "pixelwise"),
    ]
    own = [x.method for x in result[1].blocks[0].lines if x.ours]
    assert own == ["PANet", "PMNet", "HSNet", "pmnet (w/o b3dconv)"]


def test_our_figures_are_the_cells_with_interval_and_marks(
    everything: Results, result: dict[int, PaperTable]
) -> None:
    cell = next(c for c in everything.cells if (c.benchmark, c.shot, c.method) == ("pascal5i", 5, "hsnet"))
    row = line(result[1], "HSNet")
    mean = row.numbers[9]
    assert mean.text == f"{cell.miou.value:.1f}"
    assert mean.interval == f"[{cell.miou.low:.1f}, {cell.miou.high:.1f}]"
    assert mean.marks == "MU"
    assert [n.text for n in row.numbers[5:9]] == [f"{cell.folds[f].miou.value:.1f}" for f in range(4)]
    assert row.learnable == "2.57"
    ablated = line(result[6], "pmnet (w/o b3dconv)").numbers
    assert [n.text for n in ablated[1:4]] == ["-"] * 3
    assert ablated[4].marks == "F"  # a mean over one fold of four
    assert "protocol published/1, seed 0, scored at input size, 40 episodes per fold" in result[1].measured


def test_the_average_of_table_3_needs_all_four(everything: Results, result: dict[int, PaperTable]) -> None:
    row = line(result[3], "PMNet")
    four = [
        c.miou
        for c in everything.cells
        if c.method == "pmnet" and c.shot == 1 and c.benchmark.startswith("pascal-to")
    ]
    assert row.numbers[8].text == f"{np.mean([f.value for f in four]):.1f}"
    low, high = map(float, row.numbers[8].interval[1:-1].split(", "))
    width = np.sqrt(np.sum([((f.high - f.low) / 2) ** 2 for f in four])) / 4  # of independent figures
    assert (high - low) / 2 == pytest.approx(width, rel=0.35)
    fewer = gathered([c for c in everything.cells if c.benchmark != "pascal-to-fss1000"])
    (table,) = [t for t in make_paper_tables(fewer) if t.layout.number == 3]
    assert [c.benchmark for c in table.layout.parts[0].columns[8:]] == [AVERAGE] * 2
    assert [n.text for n in line(table, "PMNet").numbers[6:]] == ["-"] * 4


def test_only_tables_with_a_benchmark_that_was_run() -> None:
    results = gathered(cells_of("coco20i:interleaved", 4, 1))
    (table,) = make_paper_tables(results)
    assert table.layout.number == 1
    assert [block.part.columns[0].benchmark for block in table.blocks] == ["coco20i"]
    assert make_paper_tables(gathered(cells_of("some-data", 1, 1))) == ()


def test_what_differs_between_our_rows_is_said_at_them() -> None:
    cells = [*cells_of("pascal5i", 4, 1), *cells_of("pascal5i", 4, 1, seed=3, identity="b", backbone="vgg16")]
    (table,) = make_paper_tables(gathered(cells))
    assert {x.method for x in table.lines if x.ours} >= {"PMNet, seed 0", "PMNet, seed 3"}
    assert "seed" not in table.measured
    (table,) = make_paper_tables(gathered(cells_of("coco20i-to-fss1000", 4, 1, backbone="vgg16")))
    assert {x.method for x in table.lines if x.ours} == {"PMNet, VGG-16", "HSNet, VGG-16", "PANet, VGG-16"}
    assert any("backbone vgg16, the paper's is resnet50" in note for note in table.notes)


def test_another_variant_is_marked() -> None:
    (table,) = make_paper_tables(gathered(cells_of("coco20i:contiguous", 4, 1)))
    assert {n.marks for n in line(table, "PMNet").numbers[:5]} == {"Ma"}
    (mark,) = [m for m in table.legend if m.letter == "a"]
    assert (mark.kind, mark.wordings) == ("variant", ("variant (coco20i as contiguous)",))


def test_places_of_single_folds_follow_from_paired_comparisons() -> None:
    cells = cells_of("pascal5i", 4, 1, episodes=200)
    results = gathered(cells)
    places = find_best_and_tied(results)
    for fold in range(4):
        alone = [replace(c, folds={fold: c.folds[fold]}, missing=()) for c in cells]
        compared = verdicts(replace(results, cells=tuple(alone)))
        top = max(range(3), key=lambda n: cells[n].folds[fold].miou.value)
        for n in range(3):
            place = places.get((n, str(fold)))
            if n == top:
                assert place == "best"
            else:
                pair = compared[id(alone[top]), id(alone[n])]
                assert pair.family == 3
                assert (place == "tied") is (pair.outcome == "tie")
    assert {places.get((n, MEAN)) for n in range(3)} >= {"best"}


def test_nothing_is_best_alone_or_across_measurements() -> None:
    one = cells_of("pascal5i", 2, 1)[0]
    other = cells_of("pascal5i", 2, 1, protocol="fssbench/1", identity="p")[1]
    plain = [replace(c, best=False, tied=False) for c in (one, other)]
    assert find_best_and_tied(gathered(plain)) == {}


def read_skeleton(word: str, folder: Path) -> tuple[list[str], int, int]:
    """Write the tables of a run with a word in every name; read commands, open braces and number of lines."""
    run = make_hostile_results(word).runs[0]
    run = replace(run, benchmark="pascal5i", manifest=make_manifest(context={"title": word, "kind": word}))
    results = gathered([make_cell([run], missing=(1, 2, 3))])
    written = LatexReporter().write(results, folder, style="paper")[1].read_text(encoding="utf-8")
    assert all(c < "\x80" or "À" <= c <= "ÿ" for c in written)
    commands = re.findall(r"\\([a-zA-Z]+)", written)
    depth = len(re.findall(r"(?<!\\){", written)) - len(re.findall(r"(?<!\\)}", written))
    harmless = re.compile(r"text(?!bf)\w+|ldots|langle|rangle")
    return [c for c in commands if not harmless.fullmatch(c)], depth, written.count("\n")


@pytest.fixture(scope="module")
def benign_skeleton(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], int, int]:
    return read_skeleton("benign", tmp_path_factory.mktemp("benign"))


@pytest.mark.parametrize("text", [*NASTY, "\\\\[9cm]", "[9cm]"], ids=range(len(NASTY) + 2))
def test_paper_tables_execute_nothing_foreign(
    text: str, benign_skeleton: tuple[list[str], int, int], tmp_path: Path
) -> None:
    assert read_skeleton(text, tmp_path) == benign_skeleton


def test_points_stand_below_each_other(everything: Results, tmp_path: Path) -> None:
    text = LatexReporter().write(everything, tmp_path, style="paper")[1].read_text()
    third = text[text.index("Deepglobe") : text.index("tab:pmnet-3")]
    (row,) = [x for x in third.splitlines() if "{PATNet" in x]
    assert r"{70.2\phantom{0}" in row
    assert r"{66.61\rlap" in row


needs_latex = pytest.mark.skipif(
    not shutil.which("pdflatex")
    or subprocess.run(["kpsewhich", "booktabs.sty", "multirow.sty"], capture_output=True).returncode != 0,
    reason="no LaTeX compiler with booktabs and multirow here",
)


@needs_latex
@pytest.mark.parametrize("which", ["everything", "hostile"])
def test_paper_tables_compile(which: str, everything: Results, tmp_path: Path) -> None:
    results = everything
    if which == "hostile":
        runs = [make_run(label=t, slug=t, identity=str(i), episodes=5) for i, t in enumerate(NASTY)]
        results = gathered([make_cell([run], missing=(1, 2, 3)) for run in runs])
    LatexReporter().write(results, tmp_path, style="paper")
    (tmp_path / "doc.tex").write_text(
        "\\documentclass[twocolumn]{article}\\usepackage{booktabs,multirow,graphicx}\n"
        "\\begin{document}\\input{paper}\\end{document}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "doc.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "doc.pdf").stat().st_size > 10_000


def test_without_the_style_nothing_else_is_written(tmp_path: Path) -> None:
    LatexReporter().write(share_results(), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["details.tex", "report.tex"]


def test_a_number_knows_its_decimals() -> None:
    assert [Number(t).decimals for t in ("-", "5", "36.55", "70.2")] == [0, 0, 2, 1]
