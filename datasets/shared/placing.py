"""Placing files of a download: hard links if the disk allows them, otherwise copies."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from fssbench.api import DataError, list_files

_SHOWN = 5


def place_file(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, by hard link or copy.

    Raises:
        DataError: if the target cannot be written.
    """
    try:
        try:
            os.link(source.resolve(), target)  # the file itself, if the download consists of links
        except OSError:  # another disk, or a file system without links
            shutil.copy2(source, target)
    except OSError as error:
        raise DataError(f"cannot place {source} at {target} ({error.strerror})") from None


def place_files(source: Path, target: Path, ending: str) -> int:
    """Place every data file of a folder that has the ending, in lower case; return their number.

    Raises:
        DataError: if two names differ only in case, or the target cannot be written.
    """
    make_folder(target)
    files = list_files(source, ending)
    for name, on_disk in files.items():
        place_file(source / on_disk, target / name)
    return len(files)


def is_same_folder(one: Path, two: Path) -> bool:
    """Return whether two paths name one existing folder."""
    return one.is_dir() and two.is_dir() and one.samefile(two)


def make_folder(path: Path) -> Path:
    """Make a folder that may be there already.

    Raises:
        DataError: if it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot make folder {path} ({error.strerror}); name a data folder you may write"
        ) from None
    return path


def refuse_problems(place: str, problems: Sequence[str], next_step: str) -> None:
    """Raise one error for all problems of a download, naming the first few; do nothing without problems.

    Raises:
        DataError: if there is a problem.
    """
    if problems:
        shown = "; ".join(problems[:_SHOWN])
        more = f"; and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
        raise DataError(f"{place}: {shown}{more}. Nothing was written. Next: {next_step}")
