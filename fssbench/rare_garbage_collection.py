"""Garbage that is looked for seldom, in commands that hold the results of hundreds of runs and leave few cycles.

By default Python walks through all objects that it holds each time some hundreds of thousands more are made, which is a
tenth of the time of a large report, and finds nothing.  It does so once more when it ends, in another fifteenth of
the time, although the memory goes back to the system in any case.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (50_000, 20, 1000)
"""New objects before the youngest are looked through, and how often that is done before older ones are."""


@contextmanager
def garbage_collected_rarely() -> Iterator[None]:
    """Look for garbage rarely in this context, and not at the end of the process.

    A program that has chosen how often keeps its choice.
    """
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)  # frozen objects are not looked through
    usual = gc.get_threshold()
    if usual[0] == 0 or usual[0] > _THRESHOLDS[0]:
        yield
        return
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
