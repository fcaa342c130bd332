"""A clock that jumps and a time zone that changes: durations, order and results stay."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.settings import Settings
from fssbench.runs.merge import merge
from fssbench.runs.store import read_run

DAY = 86_400
PLAN = 6


@pytest.fixture(autouse=True)
def own_time_zone() -> Iterator[None]:
    """Restore the time zone of the process after a test."""
    before = os.environ.get("TZ")
    yield
    set_time_zone(before)


def set_time_zone(zone: str | None) -> None:
    if zone is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = zone
    time.tzset()


def set_clock(monkeypatch: pytest.MonkeyPatch, start: float, jump: float) -> None:
    """Let the wall clock jump forward and back by `jump` seconds, around `start`, at every second look."""
    looks = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: start + jump * (next(looks) % 2))
    monkeypatch.setattr(time, "time_ns", lambda: int((start + jump * (next(looks) % 2)) * 1e9))


@pytest.mark.parametrize("jump", [-DAY, 10 * 365 * DAY], ids=["a day back", "ten years on"])
def test_a_clock_that_jumps_changes_nothing(null: Any, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    plan = null.plan(PLAN)
    (clean,) = null.run("clean", plan)
    set_clock(monkeypatch, 1.8e9, jump)
    (run,) = null.run("jumping", plan)
    assert null.read_results(run.path) == null.read_results(clean.path)
    assert all(session.seconds >= 0 for session in read_run(run.path).sessions())
    assert null.run("jumping", plan)[0].computed == 0


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "America/St_Johns", "Nowhere/Unknown"])
def test_no_time_zone_and_no_summer_time_changes_anything(null: Any, zone: str | None) -> None:
    plan = null.plan(PLAN)
    set_time_zone("Asia/Kathmandu")
    (clean,) = null.run("clean", plan)

    def change(label: str, done: int, planned: int) -> None:
        set_time_zone(zone if done % 2 else "Pacific/Kiritimati")

    settings = Settings(out=null.folder / "runs", panels=1)
    ((run,), failed) = evaluate_all([null.method()], plan, settings, watch=change)
    assert not failed
    assert null.read_results(run.path) == null.read_results(clean.path)


def test_a_run_goes_on_after_the_clock_went_back(null: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are then older than the folder that holds them, and the second session than the first."""
    plan = null.plan(PLAN)
    (clean,) = null.run("clean", plan)
    set_clock(monkeypatch, 2.0e9, 0)

    def stop(label: str, done: int, planned: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_all([null.method()], plan, Settings(out=null.folder / "runs", panels=1), watch=stop)
    set_clock(monkeypatch, 1.9e9, 0)
    for path in (null.folder / "runs").rglob("*"):
        os.utime(path, (2.1e9, 2.1e9))
    (run,) = null.run("runs", plan)
    assert run.computed == PLAN - 3
    assert null.read_results(run.path) == null.read_results(clean.path)


def test_shards_are_joined_by_number_and_not_by_time(null: Any) -> None:
    plan = null.plan(PLAN)
    (clean,) = null.run("clean", plan)
    for age, part in enumerate((2, 3, 1)):
        (done,) = null.run("parts", plan, shard=(part, 3))
        for path in Path(done.path).rglob("*"):
            os.utime(path, (1e9 - age * DAY, 1e9 - age * DAY))
    (path,) = merge([null.folder / "parts"], null.folder / "whole")
    assert null.read_results(path) == null.read_results(clean.path)
