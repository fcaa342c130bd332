"""Output folders whose files change together: written beside the earlier ones first, renamed at the end.

A report has many files and is written again and again into one folder.  A full disk or a kill must not leave half a
file in place of an earlier one.  So all files are written to a hidden folder inside the output folder, brought to
disk, and only then renamed one after another.  A kill between two renames leaves whole files; some of them may be
earlier ones.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fssbench.errors import DataError

_PREFIX = ".writing-"
_LOCK = ".lock"
_LAST = "index.html"
"""Name of the page that links to all others.  It is renamed after them."""
_STORAGE_ERRORS = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO", "ESTALE", "EACCES", "EPERM")
    if hasattr(errno, name)
}


class StagedOutput:
    """A hidden folder for files that are not published yet.

    Attributes:
        folder: the output folder.
        hidden: the folder to write to.
    """

    def __init__(self, folder: Path, hidden: Path) -> None:
        self.folder = folder
        self.hidden = hidden
        self._retired: set[Path] = set()

    def make_part(self, number: int) -> Path:
        """Make a folder for the files of one writer, which `drop_part` can remove alone."""
        part = self.hidden / str(number)
        part.mkdir()
        return part

    def bring_part_to_disk(self, number: int) -> None:
        """Bring the files of one writer to disk, which `publish` then need not wait for.

        Raises:
            OSError: if a file cannot be written.
        """
        for path in sorted((self.hidden / str(number)).rglob("*")):
            if not path.is_dir():
                _bring_to_disk(path)

    def drop_part(self, number: int) -> None:
        """Remove the files of one writer, so that the earlier ones stay."""
        shutil.rmtree(self.hidden / str(number), ignore_errors=True)

    def locate(self, path: Path) -> Path:
        """Return the path that a written file will have; a path elsewhere is returned unchanged."""
        try:
            parts = path.relative_to(self.hidden).parts
        except ValueError:
            return path
        return self.folder.joinpath(*parts[1:])

    def retire(self, names: Iterable[str]) -> None:
        """Remove earlier files of these names when the new ones are published, unless a new one replaces them."""
        self._retired |= {self.folder / name for name in names}

    def make_error(self, error: OSError) -> DataError:
        """Make the error of a failed write; it names the file that was written last."""
        named = Path(error.filename) if isinstance(error.filename, str) else None
        if named is None or named == self.hidden:
            written = [path for path in self.hidden.rglob("*") if path.is_file()]
            named = max(written, key=lambda path: path.stat().st_mtime_ns, default=self.folder)
        return DataError(
            f"{self.locate(named)} cannot be written ({error.strerror or error}). The earlier files in {self.folder} "
            "are unchanged. Next: free space or choose another -o, then run the same command again"
        )

    def publish(self) -> None:
        """Bring all files to disk, then rename them into the output folder.

        Raises:
            OSError: if a file cannot be written.
            DataError: if a folder has the name of a file, or the reverse; nothing is renamed then.
        """
        files = {path: self.locate(path) for path in sorted(self.hidden.glob("*/**/*")) if not path.is_dir()}
        for path, target in files.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():
                raise DataError(
                    f"{target} is a folder, so the file of this name cannot be written. "
                    "Next: remove it or choose another -o"
                )
            if not os.access(target.parent, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target.parent))
            _bring_to_disk(path)
        for path, target in sorted(files.items(), key=lambda pair: pair[1].name == _LAST):
            os.replace(path, target)  # noqa: PTH105 - faults are injected at the os level
        for target in sorted(self._retired - {*files.values()}):
            target.unlink(missing_ok=True)


def is_storage_error(error: OSError) -> bool:
    """Return whether an error comes from the disk or its rights, and not from a mistake of the writer."""
    return error.errno in _STORAGE_ERRORS


@contextmanager
def stage_output(folder: Path) -> Iterator[StagedOutput]:
    """Context that publishes the files which its block wrote, unless the block raises an error.

    What an earlier process left when it was killed is removed first.

    Args:
        folder: the output folder, which exists.

    Raises:
        DataError: if the files cannot be written; the earlier files are unchanged.
    """
    _remove_leftovers(folder)
    hidden = folder / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
    lock = _make_lock(hidden)
    try:
        with suppress(NotImplementedError):  # some network file systems have no locks
            lock.acquire(timeout=0)
        hidden.mkdir()
    except OSError as error:
        lock.release()
        raise DataError(
            f"folder {folder} cannot be written ({error.strerror or error}). Next: choose another -o"
        ) from error
    output = StagedOutput(folder, hidden)
    try:
        yield output
        output.publish()
    except OSError as error:
        raise output.make_error(error) from error
    finally:
        _remove(hidden, lock)


def _make_lock(hidden: Path) -> FileLock:
    """Make the lock that the owner of a hidden folder holds as long as it lives; its file is beside the folder."""
    return FileLock(hidden.with_name(f"{hidden.name}{_LOCK}"))


def _remove_leftovers(folder: Path) -> None:
    """Remove hidden folders that no running process holds."""
    for name in {path.name.removesuffix(_LOCK) for path in folder.glob(f"{_PREFIX}*")}:
        lock = _make_lock(folder / name)
        with suppress(OSError, Timeout, NotImplementedError):
            lock.acquire(timeout=0)
            _remove(folder / name, lock)


def _remove(hidden: Path, lock: FileLock) -> None:
    """Remove a hidden folder, and then its lock, which says that it may be removed."""
    shutil.rmtree(hidden, ignore_errors=True)
    with suppress(OSError):
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def _bring_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
