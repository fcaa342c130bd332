"""`fssbench.compare`: the pairs, verdicts and refusals of the command, as a table."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from command import run_command
from run_folders import make_plan, write_run

import fssbench
from fssbench.errors import UsageError


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three methods on ISIC, with 200 episodes; two of them also on radiographs, with 4."""
    for method in ("pmnet", "hsnet", "panet"):
        write_run(tmp_path / "runs", make_plan("pascal-to-isic2018", 0, 1, 200), method)
    for method in ("pmnet", "panet"):
        write_run(tmp_path / "runs", make_plan("pascal-to-chestxray", 0, 1, 4), method, marks=("miniature",))
    return tmp_path / "runs"


def test_the_table_has_the_figures_of_the_command(runs: Path) -> None:
    done = run_command("compare", "--runs", runs, "--json", "--resamples", "200")
    rows = [row for row in map(json.loads, done.stdout.splitlines()) if row["kind"] == "pair"]
    table = fssbench.compare(runs=runs, resamples=200).table
    assert len(table) == len(rows) == 4
    for row, pair in zip(rows, table.itertuples(), strict=True):
        assert [pair.a, pair.b, pair.benchmark] == [*row["methods"], row["benchmark"]]
        assert pair.difference == row["difference"]
        assert pair.outcome == row["outcome"]
        assert pair.marks == "; ".join(row["marks"])
        assert (pair.episodes, pair.no_interval) == (row["episodes"], row["shortage"])
        assert math.isnan(pair.holm_p) == (row["holm_p"] is None)


def test_with_too_few_queries_there_is_no_verdict(runs: Path) -> None:
    comparison = fssbench.compare("pmnet", "panet", runs=runs, resamples=200)
    few = comparison.table.set_index("benchmark").loc["pascal-to-chestxray:lung566"]
    assert few["outcome"] == "too few queries"
    assert math.isnan(few["difference_low"])
    shown = comparison._repr_html_()
    assert shown.count("too few queries (") == 2
    assert "miniature" in shown
    assert "there is no interval and no verdict" in shown


def test_what_cannot_be_compared_is_told(runs: Path) -> None:
    write_run(runs, replace(make_plan("pascal-to-isic2018", 0, 1, 40), seed=1), "ssp")
    with pytest.warns(UserWarning, match="cannot be compared.*shared=True"):
        comparison = fssbench.compare("pmnet", "hsnet", "ssp", runs=runs, resamples=200)
    assert comparison.refused
    assert "cannot be compared" in comparison._repr_html_()
    with warnings.catch_warnings(action="ignore"), pytest.raises(UsageError, match="cannot be compared"):
        fssbench.compare("pmnet", "ssp", runs=runs)
    with pytest.raises(UsageError, match="Did you mean pmnet"):
        fssbench.compare("pmnett", runs=runs)


def test_what_is_in_no_pair_is_told(runs: Path) -> None:
    write_run(runs, replace(make_plan("pascal-to-isic2018", 0, 1, 200), size=192), "pmnet")
    with pytest.warns(UserWarning, match="192 px.*in no pair.*--size"):
        comparison = fssbench.compare("pmnet", "hsnet", runs=runs, resamples=200)
    left_out = {each.cell.benchmark.partition(":")[0]: each.options for each in comparison.left_out}
    assert left_out == {"pascal-to-isic2018": ("--size",), "pascal-to-chestxray": ()}
    assert "in no pair" in comparison._repr_html_()


def test_of_many_results_the_first_ones_are_named_and_the_others_are_counted(tmp_path: Path) -> None:
    plan = make_plan("pascal-to-isic2018", 0, 1, 4)
    for size in range(64, 84):
        write_run(tmp_path / "runs", replace(plan, size=size), "pmnet")
    with pytest.raises(UsageError, match="nothing to compare.* 73 px, 4 episodes; and 10 more"):
        fssbench.compare(runs=tmp_path / "runs", resamples=50)
    write_run(tmp_path / "runs", replace(plan, size=64), "hsnet")
    with pytest.warns(UserWarning, match="in no pair") as told:
        comparison = fssbench.compare(runs=tmp_path / "runs", resamples=50)
    lines = [str(warning.message) for warning in told if "in no pair" in str(warning.message)]
    assert len(comparison.left_out) == 19
    assert sum("input size" in line for line in lines) == 10
    assert lines[10:] == ["further rows in no pair: 9. Next: `fssbench list runs`"]


def test_equal_folders_are_named(runs: Path, tmp_path: Path) -> None:
    one = next(runs.glob("*isic*pmnet*"))
    other = tmp_path / "copy" / one.name
    other.parent.mkdir()
    other.mkdir()
    for file in one.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    comparison = fssbench.compare(one, other)
    assert len(comparison.equal) == 1
    assert comparison.pairs == ()
    assert "are equal" in comparison._repr_html_()
