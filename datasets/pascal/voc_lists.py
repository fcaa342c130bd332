"""VOC's own lists (`ImageSets/Segmentation`): one image name per line.

A name may carry an ending or the folder that it lies in.  What means something else, such as a line with an image and
its mask or with a flag, is refused: such a file is another list, and its length would decide every episode.
"""

from __future__ import annotations

import re
from pathlib import Path

from fssbench.api import DataError, ListError, describe_line, read_lines

from ..shared.pools import as_list_error

_FOLDERS = ("JPEGImages", "SegmentationClass", "SegmentationClassAug")
_LINE = re.compile(
    rf"(?:(?:[^\s]*[/\\])?(?:{'|'.join(_FOLDERS)})[/\\])?([^\s/\\,;]+?)(?:\.(?:jpe?g|png))?", re.IGNORECASE
)


def read_names(path: Path) -> list[str]:
    """Read the image names of a VOC list, in file order.

    Raises:
        ListError: if it cannot be read, is empty, or a line is not a name or occurs twice, with its number.
    """
    try:
        return _read_names(path)
    except DataError as error:
        raise as_list_error(error, f"put the list of VOC 2012 at {path}, or remove it") from None
    except OSError as error:
        raise ListError(
            f"list {path} cannot be read ({error.strerror}). Next: make it readable, or remove it"
        ) from None


def _read_names(path: Path) -> list[str]:
    names: dict[str, int] = {}
    for number, line in read_lines(path, latin1=True):
        match = _LINE.fullmatch(line)
        if match is None:
            raise DataError(
                f"{path}, line {number}: {line[:120]!r} is not an image name{describe_line(line)}. Expected is one "
                "name per line, such as 2007_000033, as VOC 2012 has it in ImageSets/Segmentation"
            )
        first = names.setdefault(match[1], number)
        if first != number:
            raise DataError(f"{path}, line {number}: {match[1]} is already in line {first}")
    if not names:
        raise DataError(f"{path} names no image")
    return list(names)


def count_missing(names: list[str], missing: int) -> str:
    """Say how many names of a list have no image and mask on disk; empty if all have them."""
    return f" ({missing:,} of its {len(names):,} names are not on disk)" if missing else ""
