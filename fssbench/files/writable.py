"""A test whether an output folder can be written, made before a long computation."""

from __future__ import annotations

import os
import tempfile
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
