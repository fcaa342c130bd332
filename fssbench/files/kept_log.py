"""A log with a copy in memory, so that its lines survive if another program changes the file.

A cleaner of temporary folders, a tool that synchronises folders or a second person may delete, cut,
replace or extend a file while it is being written.  The writer would then continue in a file without a name, and a
later reader would compute a mean over the remaining lines.  `KeptLog` compares the file at the path with its own
descriptor, which takes two system calls, or compares every byte.  A changed file can be restored from
memory.  A file with other content is renamed, never deleted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from fssbench.errors import DataError
from fssbench.files.append_log import AppendLog, split_log
from fssbench.files.atomic import replace_file
from fssbench.files.regular import read_regular


class KeptLog:
    """An append-only file with a copy of its lines in memory.

    Args:
        path: the file; made if it does not exist.
        good: the bytes of its whole lines; the rest of the file is cut off.

    Attributes:
        path: the file.
        losses: what happened to the file while it was open, in words; empty if nothing did.

    Raises:
        DataError: if it cannot be opened for writing.
    """

    def __init__(self, path: Path, good: bytes) -> None:
        self.path = path
        self.losses: list[str] = []
        self._lines: list[bytes] = [good] if good else []
        self._size = len(good)
        self._log = AppendLog(path, self._size)

    def append(self, line: bytes, hint: str = "") -> None:
        """Write one line that ends in a newline.  The caller asks `find_harm` first.

        Raises:
            DataError: if it cannot be written; what was written before stays intact.
        """
        self._log.append(line, hint)
        self._lines.append(line)
        self._size += len(line)

    @property
    def size(self) -> int:
        """Number of bytes of all lines."""
        return self._size

    def cut(self, size: int) -> None:
        """Take back the lines behind the first `size` bytes, which end a line.

        Raises:
            DataError: if the file cannot be cut.
        """
        remaining = b"".join(self._lines)[:size]
        self._lines, self._size = [remaining] if remaining else [], len(remaining)
        self._log.cut(self._size)

    def find_harm(self, *, whole: bool = False) -> str:
        """Say what somebody else did to the file; empty if it is unchanged.

        Args:
            whole: compare every byte, not the file's number and size alone.
        """
        state, own = _stat(self.path), self._log.stat()
        if state is None:
            return "was deleted or moved"
        if (state.st_dev, state.st_ino) != (own.st_dev, own.st_ino):
            return "was replaced by another file"
        if state.st_size != self._size:
            missing_bytes = self._size - state.st_size
            if missing_bytes > 0:
                return f"was cut by {missing_bytes} bytes"
            return f"was extended by {-missing_bytes} bytes"
        if whole:
            try:
                data = self.path.read_bytes()
            except OSError as error:
                return f"can no longer be read ({error.strerror})"
            if data != b"".join(self._lines):
                return "was changed"
        return ""

    @property
    def moved(self) -> bool:
        """Whether the file still exists under another name, as after a `mv` of its folder."""
        return _stat(self.path) is None and self._log.stat().st_nlink > 0

    def put_back(self) -> None:
        """Write all lines to the path again and continue there; a file that is there now is renamed.

        Raises:
            DataError: if it cannot be written.
        """
        harm = self.find_harm(whole=True)
        aside = set_aside(self.path)
        self.losses.append(f"{harm}{f' (the file there was renamed to {aside.name})' if aside else ''}")
        self._replace(self._lines)

    def sort(self, number_of: Callable[[bytes], int]) -> None:
        """Put the lines in ascending order of their numbers, each number once; the last line of a number is kept.

        The file is replaced as a whole, and only if the order changes.

        Args:
            number_of: returns the number of a line, given without its newline.

        Raises:
            DataError: if it cannot be written; the file is unchanged then.
        """
        contents = [line.content for line in split_log(b"".join(self._lines), self.path)[0]]
        numbers = [number_of(content) for content in contents]
        if any(after <= before for before, after in pairwise(numbers)):
            by_number = dict(zip(numbers, contents, strict=True))
            self._replace([by_number[number] + b"\n" for number in sorted(by_number)])

    def _replace(self, lines: list[bytes]) -> None:
        """Replace the file at the path by these lines and go on there."""
        write_whole(self.path, lines)
        self._lines, self._size = lines, sum(map(len, lines))
        left, self._log = self._log, AppendLog(self.path, self._size)
        left.discard()

    def copy_to(self, path: Path) -> None:
        """Write all lines to another file.

        Raises:
            DataError: if it cannot be written.
        """
        write_whole(path, self._lines)

    def close(self) -> None:
        """Write the file to disk and close it.

        Raises:
            DataError: if it cannot be written to disk.
        """
        self._log.close()


def read_whole_lines(path: Path) -> bytes:
    """Return the lines of a log without an incomplete last one; empty if there is no log.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        data = read_regular(path)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None
    return data[: data.rfind(b"\n") + 1]


def write_whole(path: Path, lines: Iterable[bytes]) -> None:
    """Write a file completely or not at all.

    Raises:
        DataError: if it cannot be written.
    """
    try:
        replace_file(path, b"".join(lines))
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error}). Next: free space, or choose another --out"
        ) from error


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def set_aside(path: Path) -> Path | None:
    """Rename a file that is not empty to the first free name beside it; None if there is no such file."""
    state = _stat(path)
    if state is None or not state.st_size:
        return None
    number = 1
    while (aside := path.with_name(f"{path.name}.aside-{number}")).exists():
        number += 1
    with suppress(OSError):
        path.rename(aside)
        return aside
    return None
