"""Warm-up, repeats, and the rules that call times unstable: all on clocks made for the purpose."""

from __future__ import annotations

import os
import statistics
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from fssbench.efficiency import timing
from fssbench.efficiency.timing import STEADY, Load, list_spread_reasons, time_work


class Made:
    """A clock by which each episode takes the next of some seconds."""

    def __init__(self, seconds) -> None:
        self.seconds = iter(seconds)
        self.now = 0.0
        self.episodes = 0

    def __call__(self) -> float:
        return self.now

    def episode(self) -> None:
        self.episodes += 1
        self.now += next(self.seconds)


def measured(seconds, repeats: int = 10):
    clock = Made(seconds)
    return time_work(clock.episode, repeats=repeats, clock=clock)[0], clock


def test_steady_times_are_stable_and_exact():
    result, clock = measured(repeat(0.25), 7)
    assert result.model_dump() == {
        "median": 250.0,
        "low": 250.0,
        "high": 250.0,
        "mad": 0.0,
        "fastest": 250.0,
        "slowest": 250.0,
        "repeats": 7,
        "warmup": 4,
        "unstable": (),
    }
    assert clock.episodes == 11


def test_warm_up_goes_on_while_it_gets_faster_and_does_not_count():
    slowing = [1.0, 0.9, 0.6, 0.5, 0.3, 0.25, 0.1, 0.1, 0.1, 0.1]
    result, _ = measured(chain(slowing, repeat(0.1)))
    assert result.warmup == 9  # two of 0.1 after 0.25 and 0.1
    assert result.slowest == pytest.approx(100)
    assert result.unstable == ()


def test_never_steady_is_said():
    result, _ = measured(chain((0.9**n for n in range(20)), repeat(0.1)))
    assert result.warmup == 20
    assert result.unstable == ("the method was still getting faster after 20 episodes of warm-up",)


def test_slow_methods_are_not_warmed_up_for_hours():
    result, clock = measured(repeat(50.0), 5)
    assert (result.warmup, clock.episodes, result.unstable) == (2, 7, ())
    cut, _ = measured(chain([70.0], repeat(50.0)), 5)
    assert cut.unstable == ("the method was still getting faster after 2 episodes of warm-up",)


@given(st.lists(st.floats(0.001, 10), min_size=2, max_size=40))
def test_figures_are_numpys(seconds):
    clock = Made(chain([1.0] * 4, seconds))
    result, _ = time_work(clock.episode, repeats=len(seconds), clock=clock)
    ms = 1000 * np.array(seconds)
    low, middle, high = np.percentile(ms, [25, 50, 75])
    assert (result.low, result.median, result.high) == pytest.approx((low, middle, high), rel=1e-6)
    assert result.mad == pytest.approx(np.median(abs(ms - middle)), rel=1e-6, abs=1e-6)
    assert (result.fastest, result.slowest) == pytest.approx((ms.min(), ms.max()), rel=1e-6)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        ([1.0] * 20, []),
        ([1.0, 1.05, 0.95, 1.02, 0.98], []),
        ([1.0, 1.2, 0.8, 1.3, 0.7], ["the standard deviation is 25 % of the mean"]),
        ([1.0] * 60 + [1.6], ["the slowest repeat is 60 % above the median"]),
        ([1.0] * 60 + [0.4], ["the fastest repeat is 60 % below the median"]),
        ([1.0] * 4, ["there are only 4 repeats"]),
    ],
)
def test_rules_of_stability(seconds, said):
    assert list_spread_reasons(seconds) == said


@given(st.lists(st.floats(0.001, 10), min_size=5, max_size=30), st.floats(0.01, 100))
def test_stability_is_relative(seconds, factor):
    scaled = [factor * s for s in seconds]
    ratio = statistics.stdev(seconds) / statistics.fmean(seconds)
    if abs(ratio - 0.1) > 1e-6:
        said = any("deviation" in reason for reason in list_spread_reasons(scaled))
        assert said == (ratio >= 0.1)


def test_noisy_clock_is_flagged():
    noise = np.random.default_rng(0)
    result, _ = measured(chain([1.0] * 4, noise.gamma(2, 1, 15)), 15)
    assert len(result.unstable) == 3


@pytest.mark.parametrize(("busy", "threads", "flagged"), [(0.1, 1, False), (3.5, 1, True), (0.1, 4, False)])
def test_load_of_others_is_flagged_where_it_takes_cpus_away(monkeypatch, busy, threads, flagged):
    monkeypatch.setattr(timing.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(Load, "others", busy)
    clock = Made(repeat(1.0))
    result, others = time_work(clock.episode, repeats=5, clock=clock, threads=threads)
    assert others == busy
    assert (result.unstable == (f"other processes kept {busy:.1f} of 4 CPUs busy",)) == flagged


def test_load_counts_others_only(monkeypatch):
    seconds, busy, own = iter([0.0, 2.0]), iter([100.0, 103.0]), iter([10.0, 11.5])
    monkeypatch.setattr(timing.time, "monotonic", lambda: next(seconds))
    monkeypatch.setattr(timing, "read_busy_seconds", lambda: next(busy))
    monkeypatch.setattr(timing, "read_own_seconds", lambda: next(own))
    assert Load().others == pytest.approx(0.75)


def test_load_is_unknown_in_no_time_and_where_the_system_does_not_tell(monkeypatch):
    assert Load().others is None

    def closed():
        raise PermissionError

    monkeypatch.setattr(timing.psutil, "cpu_times", closed)
    assert timing.read_busy_seconds() is None


@pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="Linux says it in /proc/stat")
def test_busy_time_is_that_of_the_kernel():
    """All but idle and waiting; guests are in `user` already."""

    def kernel():
        fields = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")

    before, ours, after = kernel(), timing.read_busy_seconds(), kernel()
    assert before - 1e-6 <= ours <= after + 1e-6


@pytest.mark.parametrize("more", [{}, {"nice": 1.0}, {"interrupt": 4.0, "dpc": 2.0}])
def test_busy_time_where_a_system_knows_fewer_kinds(monkeypatch, more):
    spent = SimpleNamespace(user=10.0, system=5.0, idle=1000.0, **more)
    monkeypatch.setattr(timing.psutil, "cpu_times", lambda: spent)
    assert timing.read_busy_seconds() == 15.0 + more.get("nice", 0.0)


def test_rule_is_the_one_documented():
    just = [1.0, 1.0, 1 - STEADY, 1 - STEADY, 1 - STEADY]
    result, _ = measured(chain(just, repeat(1 - STEADY)))
    assert result.warmup == 4
