"""Draws of several plans at once: numpy computes outside of Python's lock, so threads share the cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_MOST = 8
"""Most threads; every one holds the draws of a plan."""


def map_in_threads(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
    """Yield `function` of each item in order, with OPENBLAS_NUM_THREADS=1 as many at once as there are cores.

    They are computed one after another unless OPENBLAS_NUM_THREADS is 1, as the verbs that draw set it: threads of one
    matrix product spin while they wait for each other, and several products at once would take several times the
    processor time.  OMP_NUM_THREADS limits the number of threads.  Not more results are ahead than threads, so that
    large ones are not in memory together.
    """
    threads = min(_count_threads(), len(items), _MOST)
    if threads < 2:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads, "draws") as pool:
        begun: list[Future[_Result]] = [pool.submit(function, item) for item in items[:threads]]
        try:
            for number in range(len(items)):
                result = begun[number].result()
                if number + threads < len(items):
                    begun.append(pool.submit(function, items[number + threads]))
                yield result
                del result
                begun[number] = Future()  # the result is not kept
        finally:
            for future in begun:
                future.cancel()


def _count_threads() -> int:
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        return 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
