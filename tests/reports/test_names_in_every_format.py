"""Two measurements of one method have two names, wherever they are shown."""

from __future__ import annotations

import csv
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from run_folders import make_plan, write_run

from fssbench.analysis.collect import collect
from fssbench.analysis.matching import match_cells
from fssbench.analysis.row_names import full_name, row_title
from fssbench.cli import main

OTHERS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"source_sha256": "2" * 64}, {}, "source 22222222"),
    ({"data_sha256": "2" * 64}, {}, "data 22222222"),
    ({"method_version": "mine 2.0"}, {}, "mine 2.0"),
    ({"config": {"width": 64}}, {}, "width=64"),
    ({"head_sha256": "2" * 64}, {"checkpoint": "again.pth", "checkpoint_sha256": "2" * 64}, "again"),
    ({"head_sha256": "2" * 64}, {"training": {"sha256": "2", "shot": 1, "seed": 7}}, "training seed 7"),
    ({"head_sha256": "2" * 64}, {"checkpoint": None, "marks": ["untrained"]}, "untrained"),
    ({"seed": 1}, {}, "seed 1"),
    ({"size": 192}, {}, "192 px"),
    ({"score_size": "original"}, {}, "original"),
    ({}, {"packages": {"torch": "2.14.0"}, "created": 1}, "torch 2.14.0"),
    ({"reader_sha256": "2" * 64}, {}, "reader 22222222"),
    ({"engine": "2"}, {}, "engine 2"),
    ({"device": "cuda"}, {}, "cuda"),
]
"""Fields of identity and context that are other in a second measurement, and what its name says."""


def measure(root: Path, *others: tuple[dict[str, Any], dict[str, Any]], fold: int = 0) -> Path:
    """A folder with PANet and PMNet, and PMNet again for each of the others."""
    block = {"source_sha256": "1" * 64, "head_sha256": "1" * 64, "reader_sha256": "1" * 64, "device": "cpu"}
    block |= {"method_version": "mine 1.0"}
    context: dict[str, Any] = {"training": {"sha256": "1", "shot": 1, "seed": 3}}
    plan = make_plan("pascal-to-isic2018:isic1", fold, 1, 100)
    write_run(root, plan, "panet", block=block, context=context)
    write_run(root, plan, "pmnet", block=block, context=context)
    for number, (fields, around) in enumerate(others):
        # the identity knows no packages: such a run is a measurement of its own where it is of another fold
        more = {"lists": f"lists {number}"} if "created" in around else {}
        write_run(root, plan, "pmnet", block={**block, **fields, **more}, context={**context, **around})
    return root


@pytest.mark.parametrize(("block", "context", "said"), OTHERS, ids=[said for *_, said in OTHERS])
def test_a_name_says_what_differs(
    block: dict[str, Any], context: dict[str, Any], said: str, tmp_path: Path
) -> None:
    cells = collect([measure(tmp_path / "runs", (block, context))], resamples=0).cells
    titles = [row_title(cell) for cell in cells]
    assert len(titles) == len(set(titles)) == 3
    assert "panet" in titles
    assert sum(said in title for title in titles) == 1


def test_a_name_stays_short_where_nothing_else_has_it(tmp_path: Path) -> None:
    cells = collect([measure(tmp_path / "runs")], resamples=0).cells
    assert sorted(map(row_title, cells)) == sorted(map(full_name, cells)) == ["panet", "pmnet"]


def test_names_of_a_method_are_the_same_on_every_benchmark(tmp_path: Path) -> None:
    """A training is named wherever one of its method's columns has two."""
    heads = [{"head_sha256": h * 64} for h in "12"]
    contexts = [{"training": {"sha256": h, "shot": 1, "seed": int(h)}} for h in "12"]
    for benchmark, trainings in (("pascal5i-to-suim", (0, 1)), ("pascal-to-deepglobe", (0,))):
        plan = make_plan(benchmark, 0, 1, 20)
        for i in trainings:
            write_run(tmp_path, plan, "pmnet", block=heads[i], context=contexts[i])
    names = [(cell.benchmark, cell.name) for cell in collect([tmp_path], resamples=0).cells]
    assert [name for benchmark, name in names if "deepglobe" in benchmark] == ["pmnet, training seed 1"]
    assert {name for _, name in names} == {"pmnet, training seed 1", "pmnet, training seed 2"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All formats of a report on two versions of a program, data before and after a repair, and two seeds."""
    root = tmp_path_factory.mktemp("names")
    measure(root / "runs", *((block, context) for block, context, _ in (OTHERS[0], OTHERS[1], OTHERS[7])))
    plan = make_plan("pascal-to-isic2018:isic1", 0, 1, 40)
    # a second seed for both
    write_run(root / "runs", plan, "panet", block={"source_sha256": "1" * 64, "seed": 1})
    arguments = ["report", str(root / "runs"), "-o", str(root / "report"), "--resamples", "50"]
    formats = "html,markdown,latex,csv,json,leaderboard"
    done = CliRunner().invoke(main, [*arguments, "--format", formats, "--style", "paper"])
    assert done.exit_code == 0, done.output
    (root / "terminal.txt").write_text(done.stdout)
    return root


def names_of(root: Path) -> list[str]:
    return [row_title(cell) for cell in collect([root / "runs"], resamples=0).cells]


def test_every_format_has_every_name(written: Path) -> None:
    names = names_of(written)
    assert len(set(names)) == 6
    texts = {
        "terminal": (written / "terminal.txt").read_text(),
        **{
            name: unescape((written / "report" / name).read_text())
            for name in ("report.html", "report.md", "report.tex", "index.html", "results.csv")
        },
    }
    for place, text in texts.items():
        for name in names:
            plain = name.replace("_", r"\_") if place == "report.tex" else name
            assert plain in text, (place, name)
    stored = json.loads((written / "report" / "results.json").read_text())["cells"]
    assert len({(cell["name"], cell["variant"], cell["setting"]) for cell in stored}) == 6


def test_no_table_has_two_rows_of_one_name(written: Path) -> None:
    with (written / "report" / "results.csv").open(newline="") as file:
        means = [row["name"] for row in csv.DictReader(file) if row["row"] == "mean"]
    assert len(set(means)) == len(means) == 6
    latex = (written / "report" / "report.tex").read_text()
    rows = re.findall(r"^\{(p[^}]*)\} & ", latex, flags=re.MULTILINE)
    assert len(set(rows)) == len(rows) == 6
    footnote = latex.split("Measured:")[1].split("Published")[0]
    lines = [line.rstrip(";.") for line in footnote.strip().splitlines() if line.startswith("p")]
    assert len(set(lines)) == len(lines) == 6
    markdown = (written / "report" / "report.md").read_text()
    rows = re.findall(r"^\| (p[^|]*) \| resnet50 \| 0\.68 M", markdown, flags=re.MULTILINE)
    assert len(set(rows)) == len(rows) == 6
    for page in ("report.html", "index.html"):
        for table in re.findall(
            r"<table.*?</table>", (written / "report" / page).read_text(), flags=re.DOTALL
        ):
            heads = re.findall(r'<th scope="row"[^>]*>(.*?)</th>', table, flags=re.DOTALL)
            ours = [re.sub(r"<[^>]+>", " ", head).strip() for head in heads if "pmnet" in head]
            assert len(set(ours)) == len(ours), (page, ours)


def test_pairs_have_two_names(written: Path) -> None:
    results = collect([written / "runs"], resamples=0)
    for match in match_cells(results, False, None):
        assert match.methods[0] != match.methods[1]


@pytest.mark.parametrize(
    "verb", [["compare", "--resamples", "50"], ["power", "--diff", "1", "--resamples", "50"]]
)
def test_at_the_terminal_no_pair_is_of_one_name(verb: list[str], written: Path) -> None:
    runs = [str(written / "runs")] if verb[0] == "power" else ["--runs", str(written / "runs")]
    done = CliRunner().invoke(main, [*verb, *runs])
    pairs = [line.split("\t")[2:4] for line in done.stdout.splitlines() if line.startswith("pascal-to-isic")]
    assert pairs
    assert all(a != b for a, b in pairs)
    assert len({tuple(pair) for pair in pairs}) == len(pairs)


def test_changes_since_another_report_have_names_apart(tmp_path: Path) -> None:
    """Before: the first version. After: two others, of which one replaces it and one is new."""
    measure(tmp_path / "before")
    measure(tmp_path / "runs", OTHERS[0][:2], ({"source_sha256": "3" * 64}, {}))
    arguments = ["report", str(tmp_path / "runs"), "-o", str(tmp_path / "report"), "--resamples", "50"]
    done = CliRunner().invoke(
        main, [*arguments, "--format", "json", "--json", "--compare-to", str(tmp_path / "before")]
    )
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    changes = [row for row in rows if "change" in row]
    assert [row["change"] for row in changes] == ["added", "added"]
    assert {row["name"] for row in changes} == {"pmnet, source 22222222", "pmnet, source 33333333"}
