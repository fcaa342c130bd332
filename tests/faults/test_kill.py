"""Processes really killed: at random moments, and at steps of a run, a resume and a merge.

CI kills after one change of each kind, the night before every step.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from kills import choose_steps, die_before, record_steps

from fssbench.runs.merge import merge


def random_kills(null, kills: int, episodes: int) -> None:
    plan, method = null.plan(episodes), null.method(sleep=0.002)
    (whole,) = null.run("whole", plan, method)
    rng = random.Random(0)
    done = rounds = 0
    while done < kills:
        out = null.folder / f"out{rounds}"
        null.calls_file.unlink()
        killed = 0
        while True:
            child = null.fork(lambda out=out: null.run(out, plan, method))
            if done < kills:
                time.sleep(rng.uniform(0, 0.0022 * episodes))
                child.kill()
            code = child.wait()
            if code == 0:
                break
            assert code == -signal.SIGKILL, child.message
            killed += 1
            done += 1
        assert null.read_results(null.find_run(out)) == null.read_results(whole.path)
        assert episodes <= null.count_calls() <= episodes + killed
        rounds += 1


def test_kills_at_random_moments_lose_nothing_and_count_nothing_twice(null):
    random_kills(null, kills=10, episodes=40)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_two_hundred_kills_at_random_moments(null):
    random_kills(null, kills=200, episodes=120)


def kill_at_steps(null, every, work, check, prepare=lambda out: None) -> int:
    """Kill `work(out)` after one change of each kind, or before every step; `check(out)` must always recover.

    Returns:
        The number of kills.
    """
    out, changes_file = null.folder / "undisturbed", null.folder / "changes.json"
    prepare(out)
    child = null.fork(lambda: record_steps(lambda: work(out), changes_file))
    assert child.wait() == 0, child.message
    changes = json.loads(changes_file.read_text())
    steps = range(1, len(changes) + 1) if every else choose_steps(changes)
    for step in steps:
        out = null.folder / f"step{step}"
        prepare(out)

        def doomed(out: Path = out, step: int = step) -> None:
            die_before(step)
            work(out)

        child = null.fork(doomed)
        assert child.wait() == -signal.SIGKILL, f"step {step}, {changes[step - 2]}: {child.message}"
        check(out)
        shutil.rmtree(out, ignore_errors=True)
    return len(steps)


each_kind_or_every_step = pytest.mark.parametrize(
    "every", [False, pytest.param(True, marks=pytest.mark.nightly)]
)


@each_kind_or_every_step
def test_killed_at_steps_of_a_run(null, every):
    plan, method = null.plan(4), null.method()
    (whole,) = null.run("whole", plan, method)

    def check(out: Path) -> None:
        (again,) = null.run(out, plan, method)
        assert null.read_results(again.path) == null.read_results(whole.path)
        assert not list(again.path.glob(".*.partial"))

    assert kill_at_steps(null, every, lambda out: null.run(out, plan, method), check) > 12


@each_kind_or_every_step
@pytest.mark.filterwarnings("ignore:the last record", "ignore:.* was changed after it was written")
def test_killed_at_steps_of_a_resume(null, every):
    plan, method = null.plan(5), null.method()
    (whole,) = null.run("whole", plan, method)
    log = (whole.path / "episodes.jsonl").read_bytes()
    part = null.folder / "part" / whole.path.name
    shutil.copytree(whole.path, part)
    (part / "summary.json").unlink()
    (part / "episodes.jsonl").write_bytes(log[: len(log) // 2])  # two whole records and a torn one

    def check(out: Path) -> None:
        (again,) = null.run(out, plan, method)
        assert null.read_results(again.path) == null.read_results(whole.path)

    kills = kill_at_steps(
        null,
        every,
        lambda out: null.run(out, plan, method),
        check,
        prepare=lambda out: shutil.copytree(null.folder / "part", out),
    )
    assert kills > 10


@each_kind_or_every_step
def test_killed_at_steps_of_a_merge(null, every):
    plan, method = null.plan(4), null.method()
    (whole,) = null.run("whole", plan, method)
    for part in (1, 2):
        null.run("shards", plan, method, shard=(part, 2))
    shards = [null.folder / "shards"]

    def check(out: Path) -> None:
        (path,) = merge(shards, out)
        assert null.read_results(path) == null.read_results(whole.path)
        sessions = (path / "sessions.jsonl").read_text().splitlines()
        assert len(sessions) == len(set(sessions))

    assert kill_at_steps(null, every, lambda out: merge(shards, out), check) > 12
