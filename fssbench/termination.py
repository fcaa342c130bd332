"""SIGTERM, as batch systems send it before they kill: the episode in work is finished, then the process ends.

Python's own reaction is to end at once, without a summary.  Here the signal becomes an exception that is handled like
Ctrl-C, so everything that writes files closes them.  A block that should be finished first delays it; a second signal
then ends the process at once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a command that SIGTERM ended, as a shell reports it."""


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


class _State:
    """State of the signal handler."""

    blocks = 0
    """Blocks that are to be finished first, one in another."""
    pending = False
    """Whether a signal waits for the end of a block."""


@contextmanager
def handle_sigterm() -> Iterator[None]:
    """Context in which SIGTERM raises `Terminated`; a handler that the user or a launcher set stays."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    ):
        yield
        return
    owner = os.getpid()

    def handle(number: int, _: FrameType | None) -> None:
        # a fork of this process, such as a worker, and whoever is asked twice ends at once
        if os.getpid() != owner or _State.pending:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif _State.blocks:
            _State.pending = True
        else:
            raise Terminated

    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        _State.pending = False
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def finished_before_termination() -> Iterator[None]:
    """Context that the first SIGTERM lets end.

    Raises:
        Terminated: at the end, if a signal arrived.
    """
    _State.blocks += 1
    try:
        yield
    finally:
        _State.blocks -= 1
    if _State.pending and not _State.blocks:
        _State.pending = False
        raise Terminated


@contextmanager
def signals_end_at_once() -> Iterator[None]:
    """Context in which SIGINT and SIGTERM end the process: in some waits of a library Python handles no signal."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
