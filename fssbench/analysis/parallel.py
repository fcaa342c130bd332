"""Draws of several plans at once: numpy computes outside of Python's lock, so threads share the cores."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from fssbench.threads import count_processors

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_MOST = 8
"""Largest number of threads.  Each thread holds the draws of one plan in memory."""
_thread = threading.local()
_processes = 1
"""Processes that share the cores with this one, itself included."""


def map_in_threads(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
    """Yield `function(item)` for each item in order; threads compute several items at once, one per core.

    One thread computes all items unless OPENBLAS_NUM_THREADS is 1; commands that draw set it.  Otherwise the threads
    of one matrix product spin while they wait for each other, and several products at once would take several times the
    processor time.  OMP_NUM_THREADS limits the number of threads.  At most one result per thread is computed ahead,
    because results are large.  A function that runs in one of these threads does not divide its work again.
    """
    threads = 1 if getattr(_thread, "is_one_of_several", False) else min(_count_threads(), len(items), _MOST)
    if threads < 2:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads, "draws", _note_thread) as pool:
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


def _note_thread() -> None:
    _thread.is_one_of_several = True


@contextmanager
def cores_shared(processes: int) -> Iterator[None]:
    """Context in which a number of processes compute at once, this one included, so each has fewer threads."""
    global _processes
    before, _processes = _processes, processes
    try:
        yield
    finally:
        _processes = before


def _count_threads() -> int:
    return count_processors() // _processes if os.environ.get("OPENBLAS_NUM_THREADS") == "1" else 1
