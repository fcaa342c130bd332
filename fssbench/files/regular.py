"""Functions that open files from other people: only regular files, up to a size, without waiting for a pipe.

A data folder may hold a named pipe, a socket or a device under the name of a picture.  The kind is checked on
the descriptor that is already open, so that no file can be exchanged between the check and the reading.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from io import FileIO
from pathlib import Path

from fssbench.errors import DataError

MEBIBYTE = 1 << 20

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
# a pipe without a writer would make open() wait for ever; a terminal must not become ours
_WITHOUT_WAITING = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY"))


def open_regular(path: Path) -> FileIO:
    """Open a regular file for reading; refuse anything else of this name.

    Raises:
        FileNotFoundError: if nothing has this name.
        OSError: if it cannot be opened.
        DataError: if it is a folder, a pipe, a socket or a device, saying which.
    """
    try:
        file = open(path, "rb", buffering=0, opener=_open_without_waiting)  # noqa: SIM115
    except FileNotFoundError:
        raise
    except OSError:
        with suppress(OSError):  # the first error says more than that of `stat`
            _refuse_special(path, path.stat().st_mode)
        raise
    mode = os.fstat(file.fileno()).st_mode
    if not stat.S_ISREG(mode):
        file.close()
        _refuse_special(path, mode)
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | _WITHOUT_WAITING)


def read_regular(path: Path, most: int = sys.maxsize) -> bytes:
    """Read a regular file of at most `most` bytes; a larger one is not read at all.

    Raises:
        FileNotFoundError: if nothing has this name.
        OSError: if it cannot be read.
        DataError: if it is no regular file, or larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= most:
            # one byte more, so that a file that grows meanwhile is noticed
            content = file.read(size + 1)
            while content and len(content) <= most and (more := file.read(MEBIBYTE)):
                content += more
            size = len(content)
        if size > most:
            raise DataError(
                f"{path} has {size:,} bytes; fssbench reads at most {most:,} bytes of such a file"
            )
    return content


def _refuse_special(path: Path, mode: int) -> None:
    for is_kind, name in _KINDS:
        if is_kind(mode):
            raise DataError(f"{path} is {name}, not a file. Next: remove it, or put the file there")
