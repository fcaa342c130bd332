"""Every failure that is the user's, a plugin's or the disk's, with the exit code it ends in.

A message names the thing, the value, what was allowed, and the next command.  The command line
prints it without a traceback; anything that is not an `FssbenchError` is our own bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

BUG = 1
"""Exit code of an error that is ours: Python prints the traceback and ends with it."""


class FssbenchError(Exception):
    """Base of all errors that fssbench raises on purpose; only its subclasses are raised."""

    exit_code = BUG


class UsageError(FssbenchError):
    """A name, option or combination that does not exist."""

    exit_code = 2


class DataError(FssbenchError):
    """Data, weights, checkpoints or stored results that are missing or damaged."""

    exit_code = 3


class RunFolderError(DataError):
    """A run folder that somebody else changed while it was being written."""


class ListError(DataError):
    """A list of images that is there and cannot be used: damaged, incomplete, or of another split.

    Unlike a list that is absent, it may name images that must not be trained on.
    """


class PluginError(FssbenchError):
    """A plugin that does not load or does not keep its contract."""

    exit_code = 4


class DatasetContractError(PluginError):
    """A data set plugin that hands over what its contract does not allow.  No method is to blame."""


class LockedError(FssbenchError):
    """A run directory that another process owns."""

    exit_code = 5


def unknown(kind: str, name: str, allowed: Iterable[str], *, hint: str = "") -> UsageError:
    """Build the error for an unknown name, with its nearest neighbours.

    Args:
        kind: what the name stands for, singular ("method").
        name: what was asked for.
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
