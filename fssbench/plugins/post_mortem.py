"""The debugger at the line at which a plugin failed, for `--pdb`.

It opens in this process, when the exception has left the plugin and before it becomes an error.  So the settings that
are restored after a call of a plugin are restored already, and the variables of all frames are still there.
"""

from __future__ import annotations

import os
import pdb
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from fssbench.errors import UsageError
from fssbench.files.clean_text import escape_text
from fssbench.plugins.calls import explain_error, set_debugger


@contextmanager
def debugging() -> Iterator[None]:
    """Context in which the debugger opens at each failure of a plugin.

    Raises:
        UsageError: if nobody can type: standard input is not a terminal, or there are several processes.
    """
    if not has_terminal():
        raise UsageError(
            "--pdb opens a debugger that reads from the terminal, but standard input is not a terminal. Next: run the "
            "command in a terminal, or with FSSBENCH_DEBUG=1, which prints the traceback"
        )
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError("--pdb opens a debugger in one process. Next: run the command without torchrun")
    set_debugger(open_debugger)
    try:
        yield
    finally:
        set_debugger(None)


def has_terminal() -> bool:
    """Return whether somebody can type commands."""
    return sys.stdin is not None and sys.stdin.isatty()


def make_debugger() -> pdb.Pdb:
    """Make a debugger on the terminal."""
    return pdb.Pdb()


def open_debugger(error: BaseException, trace: TracebackType, above: int) -> None:
    """Open the debugger; it returns when the user leaves it, and the error is then reported as usual.

    Args:
        error: the exception of the plugin.
        trace: its traceback.
        above: how many frames above the last one the plugin's line is.
    """
    sys.stderr.write(escape_text(f"{explain_error(error)}\nThe debugger is at this line; `q` leaves it.\n"))
    sys.stderr.flush()
    debugger = make_debugger()
    debugger.reset()
    if above:
        debugger.cmdqueue.append(f"up {above}")
    debugger.interaction(None, trace)
