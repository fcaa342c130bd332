"""`fssbench report --compare-to`: what changed, on the page, in Markdown and on standard output."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner
from fssbench.reports.formats.html import render_page
from fssbench.reports.formats.markdown import MarkdownReporter
from hostile_names import NASTY, make_hostile_results, parse_page
from report_factory import make_cell, make_run, make_small_results, share_results

from fssbench.analysis.changes import add_changes
from fssbench.api import Change, Changes, Departure, Estimate, Results, RunResult
from fssbench.cli import main


def shown(before_label: str = "pmnet", word: str = "x") -> Results:
    """One changed, one added, one removed cell; foreign text is `word`."""
    one, two = (make_cell([run]) for run in _two_runs())
    departures = (
        Departure("head_sha256", "a" * 64, "b" * 64, (0, 1)),
        Departure(f"config.{word}", word, "2", (0,)),
    )
    changes = (
        Change("changed", two, one, departures, Estimate(2.25, 1.0, 3.5), 200, significant=True),
        Change("changed", two, one, departures, unpaired=f"the plans of fold 0 differ ({word})"),
        Change("added", None, one),
        Change("removed", replace(two, label=before_label), None),
    )
    return Results(tuple(one.folds.values()), (one,), 200, 0, changes=Changes(word, changes, 5))


@cache
def _two_runs() -> tuple[RunResult, RunResult]:
    return make_run(), make_run("hsnet", marks=("untrained",))


@pytest.fixture(scope="module")
def page() -> str:
    return render_page(shown("benign", "benign"))


def test_the_page_tells_changes_only_when_asked(page: str) -> None:
    text = re.sub(r"\s+", " ", "".join(parse_page(page).text))
    assert "Changes since benign" in text
    assert "2 changed, 1 added, 1 removed, 5 unchanged" in text
    assert "checkpoint (the method's weights): aaaaaaaaaaaa → bbbbbbbbbbbb (folds 0, 1)" in text
    assert "paired on 200 episodes that both have counted; significant (Holm's p, 5 %)" in text
    assert "[1.0, 3.5]" in text
    assert "the episodes differ, so the difference has no interval" in text
    assert "untrained" in text  # the mark of a cell that is gone is in the legend
    assert "Changes since" not in render_page(replace(shown(), changes=None))


def test_markdown_tells_the_same(tmp_path: Path) -> None:
    MarkdownReporter().write(shown(), tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "## Changes since x" in text
    rows = [line for line in text.splitlines() if re.search(r"\| (changed|added|removed) \|", line)]
    assert len(rows) == 4
    assert {line.count("|") for line in rows} == {9}
    assert re.search(r"\| \+2\.\d \[1\.0, 3\.5\] \|", rows[0])
    MarkdownReporter().write(replace(shown(), changes=None), tmp_path)
    assert "Changes since" not in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("text", ["</td><script>alert(1)</script>", "{{ 7*7 }}\x1b\u202e"])
def test_hostile_text_stays_text_on_the_page(text: str, page: str) -> None:
    assert parse_page(render_page(shown(text, text))).elements == parse_page(page).elements


def read_shape(word: str, folder: Path) -> list[int]:
    """Write changes in which foreign text is a word, and count the bars of each line that are no text."""
    MarkdownReporter().write(shown(word, word), folder)
    lines = (folder / "report.md").read_text(encoding="utf-8").split("\n")
    return [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines]


@pytest.fixture(scope="module")
def benign_shape(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    return read_shape("benign", tmp_path_factory.mktemp("benign"))


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_hostile_text_stays_text_in_markdown(text: str, benign_shape: list[int], tmp_path: Path) -> None:
    assert read_shape(text, tmp_path) == benign_shape


@pytest.mark.parametrize("as_json", [False, True])
def test_standard_output_tells_what_changed(
    as_json: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = (make_small_results(tmp_path) for _ in "12")
    kept = after.cells[1:]
    after = replace(after, cells=kept, runs=tuple(r for c in kept for r in c.folds.values()))
    monkeypatch.setattr("fssbench.analysis.collect.collect", lambda paths, **_: after)
    monkeypatch.setattr("fssbench.analysis.changes.collect", lambda paths, **_: before)
    (tmp_path / "old").mkdir()
    flags = ["-o", str(tmp_path / "out"), "--format", "csv", "--compare-to", str(tmp_path / "old")]
    answer = CliRunner().invoke(main, ["report", "runs", *flags, *(["--json"] if as_json else [])])
    assert answer.exit_code == 0, answer.output
    if as_json:
        rows = [row for row in map(json.loads, answer.stdout.splitlines()) if "change" in row]
        assert [(row["change"], row["method"], row["after"]) for row in rows] == [("removed", "pmnet", None)]
        assert rows[0]["before"] == before.cells[0].miou.value
    else:
        assert f"{len(kept)} unchanged since old" in answer.stderr
        assert [x.split("\t")[:3] for x in answer.stdout.splitlines() if x.startswith("removed")] == [
            ["removed", "pascal-to-isic2018:isic1", "pmnet"]
        ]


def test_a_report_is_compared_with_the_one_it_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = share_results(), make_hostile_results("name")
    monkeypatch.setattr("fssbench.analysis.collect.collect", lambda paths, **_: before)
    out = str(tmp_path / "out")
    assert CliRunner().invoke(main, ["report", "-o", out, "--format", "json"]).exit_code == 0
    monkeypatch.setattr("fssbench.analysis.collect.collect", lambda paths, **_: after)
    answer = CliRunner().invoke(
        main, ["report", "-o", out, "--format", "json", "--compare-to", out, "--json"]
    )
    kinds = [row["change"] for row in map(json.loads, answer.stdout.splitlines()) if "change" in row]
    assert kinds == ["added"] + ["removed"] * len(before.cells)
    again = add_changes(after, after, against="itself").changes
    assert again == Changes("itself", (), 1)


def test_nothing_to_compare_with_is_an_error_of_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = share_results()
    monkeypatch.setattr("fssbench.analysis.collect.collect", lambda paths, **_: results)
    answer = CliRunner().invoke(main, ["report", "-o", str(tmp_path), "--compare-to", str(tmp_path / "none")])
    assert answer.exit_code == 3
    assert "nothing to compare with" in answer.stderr
