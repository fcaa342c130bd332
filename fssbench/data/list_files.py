"""Reading the files of image lists.  They come from strangers, so nothing in them is taken for granted.

A pickle may hold nothing but plain containers, text and numbers: it can name no class or function, hence run no code.
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
        raise DataError(f"{path} is empty")
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
        DataError: if it is missing, too large or no JSON.
    """
    try:
        return json.loads(decode_text(read_list_bytes(path), path))
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error})") from None


def load_plain_pickle(path: Path, expected: str = "") -> Any:
    """Read a pickle of plain values without being able to run anything.

    Args:
        path: the file.
        expected: what the file should be and the next command; said if the file is a text.

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
            f"{path} is no readable pickle ({reason}){_describe_text(content, expected)}"
        ) from None


class _PlainUnpickler(pickle.Unpickler):
    """Reads containers, text and numbers; refuses anything that must be imported."""

    def __init__(self, content: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(content))
        self._path = path

    def find_class(self, module: str, name: str) -> NoReturn:
        raise DataError(
            f"{self._path} is refused: its pickle asks for {module}.{name}, and a list file needs only "
            "dictionaries, lists, text and numbers. Get the file from its repository again"
        )

    def persistent_load(self, pid: Any) -> NoReturn:
        raise DataError(f"{self._path} is refused: its pickle refers to an object outside the file ({pid!r})")


def _describe_text(content: bytes, expected: str) -> str:
    """Say what a file holds that should be a pickle and begins with a line of a known form."""
    first = content[:2000].decode("latin-1").strip().split("\n")[0].strip()
    meaning = describe_line(first)
    if not meaning:
        return ""
    return (
        f". Its line 1 is {shorten_line(first)!r}{meaning}{f'; expected is {expected}' if expected else ''}"
    )


def describe_text_file(path: Path) -> str:
    """Say in one clause what a text file holds that is not read as a reference list."""
    try:
        number, line = next(iter(read_lines(path, latin1=True)), (1, ""))
    except (DataError, OSError):
        return f"{path} is there, and is no text"
    return f"{path} is there, but its line {number} is {shorten_line(line)!r}{describe_line(line)}"


def shorten_line(line: str) -> str:
    """Cut a line of a file to the length that an error shows."""
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 3]}..."
