"""Times an episode, and says if the times are unstable (by the rules of pyperf)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from statistics import fmean, median, quantiles, stdev

import psutil

from fssbench.contracts.efficiency import Timing
from fssbench.plural import describe_count

WARMUP = (4, 20)
"""Fewest and most warm-up episodes, which do not count."""
WARMUP_SECONDS = 60.0
"""After this time no further warm-up episode is started, except for the second."""
STEADY = 0.05
"""Warm-up ends when the faster of two episodes is less than this share faster than the two before."""
SPREAD = 0.10
"""Times are unstable from this ratio of standard deviation to mean on (pyperf)."""
OUTLIER = 0.50
"""Times are unstable if one differs from the median by this share of it or more (pyperf)."""
FEWEST = 5
"""Fewest repeats from which the spread can be judged."""
CROWDED = 0.2
"""Number of CPUs that other processes may take from the threads of the measurement."""
NEXT = "measure again on an idle machine, or with more --repeats"

_BUSY_KINDS = ("user", "nice", "system", "irq", "softirq", "steal")
"""Kinds of CPU time that count as busy; a system has some of them.  `user` already includes the time of guests."""

Clock = Callable[[], float]


class Load:
    """Measures how many CPUs other processes keep busy from its construction on."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._busy = read_busy_seconds()
        self._own = read_own_seconds()

    @property
    def others(self) -> float | None:
        """Mean number of CPUs that others kept busy; None if unknown, or within the first half second."""
        seconds, busy = time.monotonic() - self._since, read_busy_seconds()
        if self._busy is None or busy is None or seconds < 0.5:
            return None
        return max(0.0, (busy - self._busy - (read_own_seconds() - self._own)) / seconds)


def read_own_seconds() -> float:
    """Read the CPU seconds of this process and its children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def read_busy_seconds() -> float | None:
    """Read the busy seconds of all CPUs since the machine started; stolen time counts as busy."""
    try:
        times = psutil.cpu_times()
    except OSError:
        return None
    return sum(getattr(times, kind, 0.0) for kind in _BUSY_KINDS)


def time_work(
    work: Callable[[], object], *, repeats: int, clock: Clock = time.perf_counter, threads: int = 1
) -> tuple[Timing, float | None]:
    """Time some work: warm up until the times are steady, then repeat.

    Args:
        work: a function that returns when its result is ready.
        repeats: number of times that count.
        clock: function that returns seconds since any fixed time.
        threads: number of CPUs that the work uses, to detect whether other processes took them.

    Returns:
        Times in milliseconds with the reasons why they are unstable, and the number of CPUs that others kept busy.
    """

    def once() -> float:
        started = clock()
        work()
        return clock() - started

    warm, steady = _warm_up(once)
    load = Load()
    seconds = [once() for _ in range(repeats)]
    others = load.others
    reasons = (
        []
        if steady
        else [f"the method was still getting faster after {describe_count(warm, 'episode')} of warm-up"]
    )
    reasons += list_spread_reasons(seconds)
    cpus = os.cpu_count() or 1
    if others is not None and others + threads > cpus + CROWDED:
        reasons.append(f"other processes kept {others:.1f} of {cpus} CPUs busy")
    ms = sorted(1000 * s for s in seconds)
    middle = median(ms)
    low, _, high = quantiles(ms, n=4, method="inclusive") if len(ms) > 1 else (middle,) * 3
    timing = Timing(
        median=middle,
        low=low,
        high=high,
        mad=median(abs(t - middle) for t in ms),
        fastest=ms[0],
        slowest=ms[-1],
        repeats=repeats,
        warmup=warm,
        unstable=tuple(reasons),
    )
    return timing, others


def _warm_up(once: Callable[[], float]) -> tuple[int, bool]:
    """Warm up; return the number of episodes, and whether the last were no faster than those before."""
    fewest, most = WARMUP
    seconds: list[float] = []
    while len(seconds) < most:
        seconds.append(once())
        if len(seconds) >= fewest and min(seconds[-2:]) >= (1 - STEADY) * min(seconds[-4:-2]):
            return len(seconds), True
        if len(seconds) >= 2 and sum(seconds) > WARMUP_SECONDS:
            return len(seconds), seconds[-1] >= (1 - STEADY) * seconds[-2]
    return most, False


def list_spread_reasons(seconds: Sequence[float]) -> list[str]:
    """List the reasons, in words, why the spread of some times makes them unstable (by the rules of pyperf)."""
    if len(seconds) < FEWEST:
        return [f"there are only {len(seconds)} repeats"]
    mean, middle = fmean(seconds), median(seconds)
    reasons = []
    if stdev(seconds) >= SPREAD * mean:
        reasons.append(f"the standard deviation is {100 * stdev(seconds) / mean:.0f} % of the mean")
    if max(seconds) >= (1 + OUTLIER) * middle:
        reasons.append(f"the slowest repeat is {100 * (max(seconds) / middle - 1):.0f} % above the median")
    if min(seconds) <= (1 - OUTLIER) * middle:
        reasons.append(f"the fastest repeat is {100 * (1 - min(seconds) / middle):.0f} % below the median")
    return reasons
