"""Timing that says when not to believe it: warm-up until steady, repeats, pyperf's rules of stability."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from statistics import fmean, median, quantiles, stdev

import psutil

from fssbench.contracts.efficiency import Timing

WARMUP = (4, 20)
"""Fewest and most episodes before the first that counts."""
WARMUP_SECONDS = 60.0
"""After this long no further warm-up episode is begun, but for the second."""
STEADY = 0.05
"""Warmed up once the fastest of two episodes is no longer this much faster than that of the two before."""
SPREAD = 0.10
"""Standard deviation over mean from which times are called unstable (pyperf)."""
OUTLIER = 0.50
"""Distance from the median, relative to it, from which one time makes all unstable (pyperf)."""
FEWEST = 5
"""Repeats below which nothing is known about the spread."""
CROWDED = 0.2
"""CPUs by which other processes may take what the threads at work here want."""
NEXT = "measure again on an idle machine, or with more --repeats"

_BUSY_KINDS = ("user", "nice", "system", "irq", "softirq", "steal")
"""Kinds of CPU time that are work; a system has some of them.  Time of guests is in `user` already."""

Clock = Callable[[], float]


class Load:
    """CPUs that other processes keep busy from `start` on, as the system counts them."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._busy = _busy()
        self._own = _own()

    @property
    def others(self) -> float | None:
        """CPUs others were busy on, on average; None where it cannot be told, or in under half a second."""
        seconds, busy = time.monotonic() - self._since, _busy()
        if self._busy is None or busy is None or seconds < 0.5:
            return None
        return max(0.0, (busy - self._busy - (_own() - self._own)) / seconds)


def _own() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _busy() -> float | None:
    """Seconds all CPUs of the machine were busy since it started; stolen time is busy too."""
    try:
        spent = psutil.cpu_times()
    except OSError:
        return None
    return sum(getattr(spent, kind, 0.0) for kind in _BUSY_KINDS)


def timed(
    episode: Callable[[], object], *, repeats: int, clock: Clock = time.perf_counter, threads: int = 1
) -> tuple[Timing, float | None]:
    """Time an episode: warm up until steady, then repeat.

    Args:
        episode: the work; it returns when the result is there.
        repeats: times that count.
        clock: seconds, of any origin.
        threads: CPUs the work wants, to tell whether others left them.

    Returns:
        Times in milliseconds with what speaks against them, and the CPUs others kept busy meanwhile.
    """

    def once() -> float:
        started = clock()
        episode()
        return clock() - started

    warm, steady = _warm_up(once)
    load = Load()
    seconds = [once() for _ in range(repeats)]
    others = load.others
    reasons = [] if steady else [f"still getting faster after {warm} episodes of warm-up"]
    reasons += spread(seconds)
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
    """Episodes it took, and whether the last were no faster than those before."""
    fewest, most = WARMUP
    seconds: list[float] = []
    while len(seconds) < most:
        seconds.append(once())
        if len(seconds) >= fewest and min(seconds[-2:]) >= (1 - STEADY) * min(seconds[-4:-2]):
            return len(seconds), True
        if len(seconds) >= 2 and sum(seconds) > WARMUP_SECONDS:
            return len(seconds), seconds[-1] >= (1 - STEADY) * seconds[-2]
    return most, False


def spread(seconds: Sequence[float]) -> list[str]:
    """What about the spread of some times speaks against them, in words; pyperf's rules."""
    if len(seconds) < FEWEST:
        return [f"only {len(seconds)} repeats"]
    mean, middle = fmean(seconds), median(seconds)
    reasons = []
    if stdev(seconds) >= SPREAD * mean:
        reasons.append(f"the standard deviation is {100 * stdev(seconds) / mean:.0f} % of the mean")
    if max(seconds) >= (1 + OUTLIER) * middle:
        reasons.append(f"the slowest is {100 * (max(seconds) / middle - 1):.0f} % above the median")
    if min(seconds) <= (1 - OUTLIER) * middle:
        reasons.append(f"the fastest is {100 * (1 - min(seconds) / middle):.0f} % below the median")
    return reasons
