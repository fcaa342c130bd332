"""Exit code 0 means that the work is complete: no plugin can end the program with another meaning.

`os._exit(0)` in a plugin ends a process at once, without an exception.  While a verb runs, that call ends the program
with the exit code of a broken plugin.  A handler that a plugin gives to `atexit` runs after an error was reported; it
cannot change the exit code, because the program then ends without these handlers.

A process that native code ends by itself cannot be noticed from inside.  That is what the child processes of
`fssbench.evaluation.isolated_method` are for.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import click

from fssbench.errors import BUG, PluginError

_leave: Callable[[int], NoReturn] = os._exit
"""The function that ends the process at once, as Python gives it."""
_MODULES: tuple[Any, ...] = (os, sys.modules["nt" if os.name == "nt" else "posix"])
"""The modules from which a plugin takes it."""
PATIENCE = 60.0
"""Seconds for which the threads of a plugin may go on after the work of the program is complete."""


@contextmanager
def exit_code_armed() -> Iterator[None]:
    """Context in which `os._exit` ends this process with the exit code of a broken plugin."""
    process = os.getpid()

    def refuse(code: int) -> NoReturn:
        if os.getpid() != process:  # a fork of this process, such as a worker of `multiprocessing`
            _leave(code)
        with suppress(Exception):
            click.echo(
                f"error: a plugin ended the program (os._exit({code})). Finished work is kept. "
                "Next: run `fssbench check` on each plugin that you used",
                err=True,
            )
        _end(PluginError.exit_code)

    before = os._exit
    for module in _MODULES:
        module._exit = refuse
    try:
        yield
    finally:
        for module in _MODULES:
            module._exit = before


def run_program(command: Callable[[], object]) -> NoReturn:
    """Run the command line as the program of this process, and end the process.

    Args:
        command: raises `SystemExit` with the exit code.
    """
    # a script's `command &`: `kill -INT` stops it all the same
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        command()
    except SystemExit as end:
        if end.code in (0, None):
            _limit_threads()
            raise
        if not isinstance(end.code, int):
            click.echo(str(end.code), err=True)
        _end(end.code if isinstance(end.code, int) else BUG)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        _end(BUG)
    _limit_threads()
    sys.exit(0)


def _list_threads() -> list[threading.Thread]:
    """List the threads for which Python waits before it ends the process."""
    return [t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]


def _limit_threads() -> None:
    """End the process after a while if a thread that a plugin has started never ends: Python would wait for it."""

    def end() -> None:
        if threads := _list_threads():
            with suppress(Exception):
                click.echo(
                    f"note: the work is complete. Thread {threads[0].name!r} of a plugin was still running "
                    f"{PATIENCE:g} s later and was ended with the program",
                    err=True,
                )
            _end(0)

    if _list_threads():
        timer = threading.Timer(PATIENCE, end)
        timer.daemon = True
        timer.start()


def _end(code: int) -> NoReturn:
    """End the process after its output is written."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    _leave(code)
