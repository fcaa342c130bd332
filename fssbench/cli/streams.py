"""Repairs the standard streams of the process, which whoever starts a command may have closed (`2>&-`).

Python sets a closed stream to None, and the next file that is opened takes its number: a library that prints to
number 2 would then write into a run.  So each closed number is taken by the null device first.
"""

from __future__ import annotations

import os
import sys

_STREAMS = (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_WRONLY, "w"), ("stderr", os.O_WRONLY, "w"))

_closed: set[str] = set()


def open_closed_streams() -> None:
    """Open the null device in place of each standard stream that is closed."""
    for number, (name, flags, mode) in enumerate(_STREAMS):
        if getattr(sys, name) is not None:
            continue
        try:
            os.fstat(number)
        except OSError:  # nothing has this number, and the lower ones are taken, so the next file gets it
            os.open(os.devnull, flags)
        stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115, PTH123 - open as long as the process
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
        _closed.add(name)


def was_closed(name: str) -> bool:
    """Return whether a standard stream, such as `stdout`, was closed when the process began."""
    return name in _closed
