"""A test whether an output folder can be written, made before a long computation."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fssbench.errors import DataError


def require_writable(folder: Path, option: str) -> None:
    """Make an output folder and write a file in it, which is removed at once.

    Args:
        folder: the folder of the output.
        option: the command line option that names another folder, such as `--out`.

    Raises:
        DataError: if the folder cannot be made or written, or its disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b"fssbench")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DataError(
            f"folder {folder} cannot be written ({error.strerror or error}). Next: choose another {option}"
        ) from error


@contextmanager
def writable_folder(folder: Path, option: str) -> Iterator[None]:
    """Context with an output folder that can be written; after an error the folders that were made are removed again.

    A folder that holds something by then stays.

    Args:
        folder: the folder of the output.
        option: the command line option that names another folder, such as `--out`.

    Raises:
        DataError: if the folder cannot be made or written, or its disk is full.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        require_writable(folder, option)
        yield
    except BaseException:
        for place in made:
            with suppress(OSError):
                place.rmdir()
        raise
