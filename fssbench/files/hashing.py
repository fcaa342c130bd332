"""Hashes of files: computed once per state of a file, since folds and shots of a benchmark share files."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from fssbench.errors import DataError
from fssbench.files.regular import open_regular

State = tuple[int, ...]
"""Size, time of writing and of the last change, number and device of a file: equal for an untouched file."""


def read_file_state(path: Path) -> State:
    """Return the present state of a file.

    Raises:
        OSError: if there is none.
    """
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev


@lru_cache(maxsize=1 << 18)
def hash_file(path: Path, state: State) -> str:
    """Return the sha256 of a file in its present state.  It is computed once, because folds and shots share files.

    Raises:
        OSError: if it cannot be read.
        DataError: if it is no regular file.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_present_file(path: Path) -> str:
    """Return the sha256 of the present content of a file, see `hash_file`."""
    return hash_file(path, read_file_state(path))


def hash_weights_file(path: Path) -> str:
    """Return the sha256 of a file of weights.

    Raises:
        DataError: if the file cannot be read.
    """
    try:
        return hash_present_file(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None
