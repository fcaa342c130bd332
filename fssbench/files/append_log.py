"""Files that only grow: lines with a checksum, each written completely or removed again."""

from __future__ import annotations

import codecs
import json
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fssbench.errors import DataError


def seal(data: dict[str, Any]) -> bytes:
    """Return one line of JSON that ends in its own crc32."""
    body = json.dumps(data, separators=(",", ":"), allow_nan=False)[:-1]
    return f'{body},"crc":"{zlib.crc32(body.encode()):08x}"}}\n'.encode()


def unseal(line: bytes) -> dict[str, Any]:
    """Return the content of a line that `seal` made, given without its newline.

    Raises:
        ValueError: if the line is damaged.
    """
    body, mark, tail = line.rpartition(b',"crc":"')
    if not mark or tail != b'%08x"}' % zlib.crc32(body):
        raise ValueError("checksum does not match")
    data: dict[str, Any] = json.loads(body + b"}")
    return data


@dataclass(frozen=True, slots=True)
class LogLine:
    """One whole line of a log."""

    number: int
    """1-based, as an editor counts."""
    place: int
    """Offset of its first byte in the file."""
    content: bytes
    """The line without its line ending."""


def split_log(data: bytes, path: Path) -> tuple[list[LogLine], int]:
    r"""Split a log into its whole lines that are not blank.

    A log is written with `\n`.  Git and editors may have made that `\r\n`, or added a byte order mark or blank
    lines; the checksum of a line does not cover these.

    Args:
        data: the content of the file.
        path: the file, for errors.

    Returns:
        The lines, and their total length in bytes; the rest of the file is an incomplete line.

    Raises:
        DataError: if the lines end in `\r` alone; together they would look like one incomplete line.
    """
    whole_bytes = data.rfind(b"\n") + 1
    if b"\r" in data[whole_bytes:].rstrip(b"\r"):
        raise DataError(
            f"every line of {path} ends in CR alone, but fssbench ends lines with LF. The file was not changed. "
            "Next: save it with LF or CR LF as line ending, or restore it from a copy"
        )
    lines = []
    place = 0
    for number, raw in enumerate(data[:whole_bytes].split(b"\n")[:-1], start=1):
        skipped = len(codecs.BOM_UTF8) if number == 1 and raw.startswith(codecs.BOM_UTF8) else 0
        content = raw[skipped:].rstrip(b"\r")
        if content.strip():
            lines.append(LogLine(number, place + skipped, content))
        place += len(raw) + 1
    return lines, whole_bytes


def write_all(handle: int, data: bytes) -> None:
    """Write everything or raise; a short write (disk full, file limit) counts as failure."""
    written = os.write(handle, data)
    if written != len(data):
        # the next write raises the reason; if it succeeds, only the first write was short
        written += os.write(handle, data[written:])
    if written != len(data):
        raise OSError(f"only {written} of {len(data)} bytes were written")


class AppendLog:
    """A file to which whole lines are appended, each by one `os.write`; an incomplete line is removed again.

    Args:
        path: the file; made if it does not exist.
        whole_bytes: length of its whole lines; the rest of the file is cut off.

    Raises:
        DataError: if it cannot be opened for writing.
    """

    def __init__(self, path: Path, whole_bytes: int) -> None:
        self.path = path
        try:
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.ftruncate(self._handle, whole_bytes)
            except OSError:
                os.close(self._handle)
                raise
        except OSError as error:
            raise DataError(f"{path} cannot be written ({error}). Next: choose another --out") from error

    def append(self, line: bytes, hint: str = "") -> None:
        """Write one line that ends in a newline.

        Raises:
            DataError: if it cannot be written; what was written before stays intact.
        """
        try:
            before = os.fstat(self._handle).st_size
            try:
                write_all(self._handle, line)
            except OSError:
                # leave no incomplete line; shrinking works on a full disk, and readers drop an incomplete line
                with suppress(OSError):
                    os.ftruncate(self._handle, before)
                raise
        except OSError as error:
            raise DataError(
                f"{len(line)} bytes cannot be written to {self.path} ({error}). {hint}"
            ) from error

    def stat(self) -> os.stat_result:
        """Return the state of the file that is written to, even if the path now leads to another file."""
        return os.fstat(self._handle)

    def cut(self, size: int) -> None:
        """Shorten the file to its first `size` bytes.

        Raises:
            DataError: if it cannot be shortened.
        """
        try:
            os.ftruncate(self._handle, size)
        except OSError as error:
            raise DataError(f"{self.path} cannot be shortened to {size} bytes ({error})") from error

    def discard(self) -> None:
        """Close the descriptor of a file that is no longer at its path."""
        os.close(self._handle)

    def close(self) -> None:
        """Write the file to disk and close it.

        Raises:
            DataError: if it cannot be written to disk.
        """
        try:
            os.fsync(self._handle)
        except OSError as error:
            raise DataError(f"{self.path} cannot be written to disk ({error})") from error
        finally:
            os.close(self._handle)
