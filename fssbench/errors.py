"""Errors that a user, a plugin or the disk can cause, each with its exit code.

A message names the thing, the value, what was allowed, and the next command.  The command line
prints it without a traceback.  Any other exception is a bug of fssbench.
"""

from __future__ import annotations

import difflib
import linecache
import os
import traceback
from collections.abc import Iterable

BUG = 1
"""Exit code of a bug of fssbench: Python prints the traceback and exits with this code."""


class FssbenchError(Exception):
    """Base class of all errors that fssbench raises on purpose.  Only subclasses are raised."""

    exit_code = BUG

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows of the error: the line of the cell and the sentence, and no traceback.

        IPython calls this.  With FSSBENCH_DEBUG=1 it is the whole traceback.
        """
        if os.environ.get("FSSBENCH_DEBUG") == "1":
            return traceback.format_exception(self)
        cells = [
            frame
            for frame in traceback.walk_tb(self.__traceback__)
            if frame[0].f_globals.get("__name__") == "__main__"
        ]
        place = ""
        if cells:
            frame, number = cells[-1]
            line = linecache.getline(frame.f_code.co_filename, number).strip()
            place = f" in line {number}: {line}" if line else f" in line {number}"
        return [f"{type(self).__name__}{place}".replace("\x1b", "?"), str(self).replace("\x1b", "?")]


class UsageError(FssbenchError):
    """The user named something that does not exist, or a combination that is not allowed."""

    exit_code = 2


class LackingError(UsageError):
    """A method or a format needs a package that is not installed.  The message names the extra to install.

    A run of several methods leaves such a method out, with a note.
    """


class DataError(FssbenchError):
    """Data, weights, checkpoints or stored results are missing or damaged."""

    exit_code = 3


class RunFolderError(DataError):
    """Another program changed a run folder while fssbench was writing it."""


class ListError(DataError):
    """A list of images exists but cannot be used: it is damaged, incomplete, or of another split.

    In contrast to an absent list, it may name images that must not be trained on.
    """


class PluginError(FssbenchError):
    """A plugin does not load or breaks its contract."""

    exit_code = 4


class DatasetContractError(PluginError):
    """A data set plugin returns something that its contract does not allow.  The method is not the cause."""


class LockedError(FssbenchError):
    """Another process owns the run folder."""

    exit_code = 5


def make_unknown_error(kind: str, name: str, allowed: Iterable[str], *, hint: str = "") -> UsageError:
    """Build the error for an unknown name; it suggests the most similar names.

    Args:
        kind: what the name stands for, in the singular ("method").
        name: the unknown name.
        allowed: the names that exist.
        hint: the next command, if there is one.

    Returns:
        The error, to be raised by the caller.
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    text = f"unknown {kind} {name!r}."
    if near:
        text += f" Did you mean {' or '.join(near)}?"
    text += f" Known: {', '.join(names) or 'none'}."
    return UsageError(f"{text} {hint}".rstrip())


unknown = make_unknown_error
"""Earlier name of `make_unknown_error`, for plugins of other authors."""
