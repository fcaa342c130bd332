"""Placing files of a download: linked where the disk allows it, copied where not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fssbench.api import DataError


def place(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, by hard link or copy; nothing is done where it is already.

    Raises:
        DataError: where the target cannot be written.
    """
    try:
        if target.exists():
            if target.samefile(source):
                return
            target.unlink()
        try:
            os.link(source, target)
        except OSError:  # another disk, or a file system without links
            partial = target.with_name(f".{target.name}.partial")
            shutil.copyfile(source, partial)
            partial.replace(target)
    except OSError as error:
        raise DataError(f"cannot place {source} at {target} ({error.strerror})") from None


def place_all(source: Path, target: Path, suffix: str) -> int:
    """Place every visible file of a folder that ends with `suffix`; gives their number."""
    folder(target)
    if source.resolve() == target.resolve():
        return sum(p.suffix == suffix for p in target.iterdir())
    chosen = sorted(p for p in source.iterdir() if p.suffix == suffix and not p.name.startswith("."))
    for path in chosen:
        place(path, target / path.name)
    return len(chosen)


def folder(path: Path) -> Path:
    """Make a folder that may be there already.

    Raises:
        DataError: where it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot make folder {path} ({error.strerror}); name a data folder you may write"
        ) from None
    return path
