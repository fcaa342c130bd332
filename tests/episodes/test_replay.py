"""A stored plan is run as it stands, on data that have what it asks for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import fssbench
from fssbench.api import Episode, Plan
from fssbench.cli import main
from fssbench.episodes.plan_file import write_plan
from fssbench.episodes.replay import draw_again
from fssbench.runs.store import read_run


@pytest.fixture
def run(null: Any) -> Any:
    def invoke(*arguments: str | Path) -> Result:
        given = [
            "run",
            "-m",
            "null",
            "--data",
            null.data,
            "-o",
            null.folder / "runs",
            "-q",
            "--json",
            *arguments,
        ]
        return CliRunner().invoke(main, [str(a) for a in given])

    return invoke


def stored(null: Any, change: Any = lambda plan: plan) -> Path:
    path = null.folder / "plan.json"
    drawn = fssbench.plan("nulldata", data=null.data, episodes=6, size=32)
    write_plan(change(drawn), path)
    return Path(path)


def test_plan_as_it_is_drawn_here_is_the_same_measurement(run, null):
    drawn = json.loads(run("-b", "nulldata", "-k", "1", "--episodes", "6", "--size", "32").stdout)
    again = json.loads(run("--plan", stored(null)).stdout)
    assert (again["identity"], again["computed"], again["marks"]) == (drawn["identity"], 0, drawn["marks"])


def test_a_plan_of_a_miniature_keeps_its_size(mini: Path) -> None:
    for size in (None, 64, 400):
        plan = fssbench.plan("pascal-to-chestxray", data=mini, episodes=2, size=size)
        assert draw_again(plan, mini, None) == plan


def test_marks_of_a_plan_file_are_not_believed(run, null):
    lines = json.loads(run("--plan", stored(null, lambda plan: replace(plan, marks=()))).stdout)
    assert any(mark.startswith("capped (6 of ") for mark in lines["marks"])


def test_other_episodes_are_run_and_marked(run, null):
    def reverse(plan: Plan) -> Plan:
        turned = [replace(e, index=i) for i, e in enumerate(reversed(plan.episodes))]
        return replace(plan, episodes=tuple(turned))

    line = json.loads(run("--plan", stored(null, reverse)).stdout)
    assert "other episodes (of a plan file)" in line["marks"]
    kept = read_run(Path(line["run"])).plan
    assert kept.episodes == reverse(fssbench.plan("nulldata", data=null.data, episodes=6, size=32)).episodes
    result = CliRunner().invoke(main, ["verify", line["run"], "--data", str(null.data), "--json"])
    assert result.exit_code == 0, result.output
    outcomes = {r["check"]: r["outcome"] for r in map(json.loads, result.stdout.splitlines())}
    assert (outcomes["episodes"], outcomes["counts"]) == ("not checked", "equal")
    assert set(outcomes.values()) == {"equal", "not checked"}


def test_cap_leaves_the_beginning(run, null):
    line = json.loads(run("--plan", stored(null), "--episodes", "3").stdout)
    assert line["episodes"] == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: replace(p, episodes=(Episode(0, 0, "0/9999", ("0/0001",)), *p.episodes[1:])), "0/9999"),
        (lambda p: replace(p, episodes=(Episode(0, 0, "1/0001", ("0/0001",)), *p.episodes[1:])), "1/0001"),
        (lambda p: replace(p, benchmark="no-such"), "no-such"),
        (lambda p: replace(p, version=77), "77"),
        (lambda p: replace(p, fold=9), "fold 9"),
        (lambda p: replace(p, classes=(*p.classes, 99), class_names=(*p.class_names, "x")), "99"),
        (lambda p: replace(p, protocol="published/9"), "published/9"),
        (lambda p: replace(p, episodes=()), "no episodes"),
    ],
)
def test_plan_that_does_not_fit_is_refused_before_any_episode(run, null, change, said):
    result = run("--plan", stored(null, change))
    assert result.exit_code in (2, 3)
    assert said in result.stderr
    assert not list((null.folder / "runs").glob("*"))


@pytest.mark.parametrize(
    "more", [("-b", "nulldata"), ("--size", "64"), ("-k", "1"), ("--seed", "1"), ("--protocol", "fssbench")]
)
def test_what_a_plan_says_itself_is_not_given_twice(run, null, more):
    result = run("--plan", stored(null), *more)
    assert result.exit_code == 2
    assert "--plan" in result.stderr


def test_no_plan_file(run, null):
    result = run("--plan", null.folder / "nothing.json")
    assert result.exit_code == 3
    assert "nothing.json" in result.stderr
