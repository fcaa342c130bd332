"""A function that a forked process computes while this one does something else.

It is for work that numpy and threads cannot share, such as reading hundreds of logs.  The child has all that this
process has in memory, and sends back what its function returns.  Whatever goes wrong in it, a warning included, ends it
without a word; the function is then called here, so that errors and warnings are those of a single process.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from fssbench.threads import count_processors

_T = TypeVar("_T")
MANY_RUNS = 50
"""Fewest stored runs whose reading or writing is worth a second process."""


def can_fork() -> bool:
    """Return whether a fork is safe here and of use: on Linux, with one thread, if there are several processors."""
    if not sys.platform.startswith("linux") or count_processors() < 2:
        return False
    try:
        threads = sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return False
    return threads == 1  # a lock that another thread holds would never be released in the child


class Fork(Generic[_T]):
    """A function in a process of its own; use it as a context, which ends the process.

    Args:
        function: called in the child if this process can fork and `wanted` is true, otherwise in `result`.
        wanted: whether the work is worth a process.
    """

    def __init__(self, function: Callable[[], _T], *, wanted: bool = True) -> None:
        self._function = function
        self._child = 0
        self._file = -1
        if wanted and can_fork():
            self._begin()

    def __enter__(self) -> Self:
        """Return the fork itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the child if nobody has asked for its result."""
        if self._child:
            with suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
            self._wait()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    @property
    def begun(self) -> bool:
        """Whether a child computes the function; false once its result was taken."""
        return self._child > 0

    def result(self) -> _T:
        """Return what the function returns, once; if the child could not compute it, it is computed here.

        Raises:
            Exception: whatever the function raises.
        """
        if self._child and self._wait() == 0:
            with os.fdopen(os.dup(self._file), "rb") as file:
                file.seek(0)
                value: _T = pickle.load(file)
            return value
        return self._function()

    def _begin(self) -> None:
        try:
            self._file = os.memfd_create("fssbench")
            self._child = os.fork()
        except OSError:  # no memory, or too many processes: it is computed here
            return
        if self._child == 0:
            status = 1
            try:
                gc.freeze()  # a collection would copy the pages of all objects of the parent
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    value = self._function()
                with os.fdopen(self._file, "wb", closefd=False) as file:
                    pickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)
                status = 0
            finally:
                os._exit(status)  # without handlers and buffers of the parent

    def _wait(self) -> int:
        child, self._child = self._child, 0
        return os.waitpid(child, 0)[1]
