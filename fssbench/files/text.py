"""Text files that other people wrote, on any system: lists, tables, plans, settings.

These are accepted: UTF-8 with or without a byte order mark, UTF-16 and UTF-32 with one, lines that end in LF, CR LF or
CR, blank lines, and spaces at the ends of lines.  If only names matter, a file that is not UTF-8 is read as Latin-1; if
that is wrong, the names are not on disk, which is an error of its own.  Any other file is refused with file and line.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from fssbench.errors import DataError
from fssbench.files.regular import MEBIBYTE, read_regular

MOST_BYTES = 64 * MEBIBYTE
"""Size of the largest list or table that is read."""

_MARKS = (
    # the mark of UTF-32 begins like that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LINE_END = re.compile(r"\r\n|\r|\n")
_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
_END_OF_FILE = "\x1a"
"""Character that some programs of DOS write after the last line."""


def read_text(path: Path, *, latin1: bool = False, most: int = MOST_BYTES) -> str:
    r"""Read a text file; its lines end in `\n`.

    Args:
        path: a regular file.
        latin1: whether a file that is not UTF-8 is read as Latin-1, if only names in it are needed.
        most: the largest size in bytes.

    Raises:
        FileNotFoundError: if nothing has this name.
        OSError: if it cannot be read.
        DataError: if it is not a regular file, too large, or not text; the error names the line.
    """
    return decode_text(read_regular(path, most), path, latin1=latin1)


def decode_text(content: bytes, path: Path, *, latin1: bool = False) -> str:
    """Decode the content of a text file as `read_text` does; the path is named in errors.

    Raises:
        DataError: as `read_text`.
    """
    mark, encoding = next(
        ((mark, encoding) for mark, encoding in _MARKS if content.startswith(mark)), (b"", "utf-8")
    )
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        if mark or not latin1:
            line = len(_LINE_END.findall(content[: len(mark) + error.start].decode("latin-1"))) + 1
            name = encoding.removesuffix("-le").removesuffix("-be").upper()
            where = f", line {line}" if encoding == "utf-8" else ""
            raise DataError(
                f"{path}{where} is not {name} text ({error.reason}). Next: save the file as UTF-8"
            ) from None
        text = content.decode("latin-1")
    if "\r" in text:
        text = _LINE_END.sub("\n", text)
    text = text.removesuffix(_END_OF_FILE)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(
            f"{path}, line {line} holds a NUL byte: the file is not text, or is UTF-16 without a byte order mark. "
            "Next: save the file as UTF-8"
        )
    return text


def read_lines(path: Path, *, latin1: bool = False) -> list[tuple[int, str]]:
    """Read the lines of a text file that are not blank, without spaces at their ends, each with its number.

    A byte order mark at the beginning of a line is dropped: joining files leaves them there.

    Raises:
        FileNotFoundError: if nothing has this name.
        OSError: if it cannot be read.
        DataError: as `read_text`.
    """
    lines = enumerate(read_text(path, latin1=latin1).split("\n"), start=1)
    stripped = ((number, line.strip().lstrip(_MARK).strip()) for number, line in lines)
    return [(number, line) for number, line in stripped if line]
