"""Functions that read files of image lists.  The files come from strangers, so everything in them is checked.

A pickle may hold only plain containers, text and numbers.  It cannot name a class or function, so it cannot run code.
"""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any, NoReturn

from fssbench.data.list_formats import describe_line
from fssbench.errors import DataError
from fssbench.files.regular import read_regular
from fssbench.files.text import MOST_BYTES, decode_text, read_lines

_NEXT = "Next: `fssbench data splits DIR`"
_LONGEST_LINE = 120
"""Characters of a line that an error shows."""


def read_list_lines(path: Path) -> list[tuple[int, str]]:
    """Read the lines of a list that are not blank, each with its number.

    Raises:
        DataError: if the file cannot be read or holds no line.
    """
    try:
        lines = read_lines(path, latin1=True)
    except OSError as error:
        raise DataError(f"reference list {path} cannot be read ({error.strerror}). {_NEXT}") from None
    if not lines:
        raise DataError(f"reference list {path} is empty. {_NEXT}")
    return lines


def read_list_bytes(path: Path) -> bytes:
    """Read the bytes of a list.

    Raises:
        DataError: if the file cannot be read or is too large for a list.
    """
    try:
        return read_regular(path, MOST_BYTES)
    except OSError as error:
        text = path.with_suffix(".txt")
        beside = f"; {describe_text_file(text)}" if path.suffix != ".txt" and text.is_file() else ""
        raise DataError(f"reference list {path} cannot be read ({error.strerror}){beside}. {_NEXT}") from None


def load_plain_json(path: Path) -> Any:
    """Read a list that is stored as JSON.

    Raises:
        DataError: if it is missing, too large or not JSON.
    """
    try:
        return json.loads(decode_text(read_list_bytes(path), path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({error})") from None


def load_plain_pickle(path: Path, expected: str = "") -> Any:
    """Read a pickle of plain values; it cannot run code.

    Args:
        path: the file.
        expected: what the file should be, and the next command; part of the error for a text file.

    Raises:
        DataError: if it is missing, larger than 64 MiB, damaged, or names any class or function.
    """
    content = read_list_bytes(path)
    try:
        return _PlainUnpickler(content, path).load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle may raise almost anything, and announce any length
        reason = f"{type(error).__name__}: {error}"
        raise DataError(
            f"{path} is not a readable pickle ({reason}){_describe_text(content, expected)}"
        ) from None


class _PlainUnpickler(pickle.Unpickler):
    """Reads containers, text and numbers; refuses anything that must be imported."""

    def __init__(self, content: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(content))
        self._path = path

    def find_class(self, module: str, name: str) -> NoReturn:
        raise DataError(
            f"{self._path} is refused because its pickle loads {module}.{name}; a list file needs only "
            "dictionaries, lists, text and numbers. Next: get the file from its repository again"
        )

    def persistent_load(self, pid: Any) -> NoReturn:
        raise DataError(
            f"{self._path} is refused because its pickle refers to an object outside the file ({pid!r}). Next: get "
            "the file from its repository again"
        )


def _describe_text(content: bytes, expected: str) -> str:
    """Describe a file that should be a pickle, but begins with a line of a known form."""
    first = content[:2000].decode("latin-1").strip().split("\n")[0].strip()
    meaning = describe_line(first)
    if not meaning:
        return ""
    return (
        f". Its line 1 is {shorten_line(first)!r}{meaning}{f'; expected was {expected}' if expected else ''}"
    )


def describe_text_file(path: Path) -> str:
    """Describe in one clause a text file that is not read as a reference list."""
    try:
        number, line = next(iter(read_lines(path, latin1=True)), (1, ""))
    except (DataError, OSError):
        return f"{path} exists, but is not text"
    return f"{path} exists, but its line {number} is {shorten_line(line)!r}{describe_line(line)}"


def shorten_line(line: str) -> str:
    """Shorten a line of a file to the length that an error shows."""
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 3]}..."
