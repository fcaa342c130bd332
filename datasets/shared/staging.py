"""Folders that appear completely or not at all.

`prepare` may run for an hour and be stopped.  Half a data set under its final name would give other episodes without a
message.  So everything is written beside the target, under a hidden name that nothing reads, and renamed at the end.
The next attempt removes what a stopped attempt left.
"""

from __future__ import annotations

import filecmp
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fssbench.api import DataError, cache_folder


@contextmanager
def stage_folder(target: Path) -> Iterator[Path]:
    """Yield a fresh folder that becomes `target` if the block ends without an error.

    Raises:
        DataError: if the target is there already (nothing is ever overwritten), cannot be written, or is
            being prepared by another process.
    """
    if target.exists():
        raise DataError(
            f"{target} is there already and is never overwritten; move it away or choose another --data, "
            "then prepare again"
        )
    with _hidden_folder(target) as partial:
        yield partial
        partial.rename(target)


@contextmanager
def stage_and_merge(target: Path) -> Iterator[Path]:
    """Yield a fresh folder whose files join those of `target` if the block ends without an error.

    A file that `target` has already must be equal to the new one.  All files are compared before the
    first one is moved.

    Raises:
        DataError: if a file of the target differs from the new one, the target cannot be written, or it is
            being prepared by another process.
    """
    with _hidden_folder(target) as partial:
        yield partial
        if not target.exists():
            partial.rename(target)
            return
        different = sorted(_different_files(partial, target))
        if different:
            folder = different[0].parent
            raise DataError(
                f"{len(different):,} files below {target} differ from what would be written, such as "
                f"{different[0]}. Nothing is ever overwritten. Next: move {folder} away or choose another "
                "--data, then prepare again"
            )
        _join(partial, target)


@contextmanager
def _hidden_folder(target: Path) -> Iterator[Path]:
    """Yield a fresh folder beside `target` that no other process uses, and remove it at the end."""
    partial = target.with_name(f".{target.name}.partial")
    # not beside the target, where a lock would stay for good
    key = hashlib.sha256(str(target.absolute()).encode(errors="surrogateescape")).hexdigest()[:16]
    locks = cache_folder() / "locks"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"prepare-{key}.lock").acquire(timeout=0):
            shutil.rmtree(partial, ignore_errors=True)  # what an earlier, stopped attempt left
            partial.mkdir()
            try:
                yield partial
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except Timeout:
        raise DataError(f"another process prepares {target}; wait until it has ended") from None
    except OSError as error:
        raise DataError(f"cannot write {error.filename or partial} ({error.strerror}) for {target}") from None


def _different_files(partial: Path, target: Path) -> Iterator[Path]:
    """Yield the files of `target` whose place is taken: by another content, or by a folder in place of a file."""
    for entry in partial.iterdir():
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            yield from _different_files(entry, place)
        elif place.exists() and (
            entry.is_dir() or place.is_dir() or not filecmp.cmp(entry, place, shallow=False)
        ):
            yield place


def _join(partial: Path, target: Path) -> None:
    for entry in sorted(partial.iterdir()):
        place = target / entry.name
        if not place.exists():
            entry.rename(place)
        elif entry.is_dir():
            _join(entry, place)


@contextmanager
def make_scratch_folder(data: Path) -> Iterator[Path]:
    """Yield a folder beside the data sets for a miniature's download, and remove it at the end."""
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=data) as folder:
        yield Path(folder)
