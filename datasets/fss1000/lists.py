"""The split lists of FSS-1000 as published with HSNet and later code: one class name per line."""

from __future__ import annotations

from pathlib import Path

from fssbench.api import DataError, ListFormat, PublishedList, describe_line, read_list_lines, shorten_line

_PUBLISHED = (
    # split, fold, number of lines, hash in file order, hash in sorted order; from juhongm999/hsnet, data/splits
    PublishedList(
        "trn",
        None,
        520,
        "4e236fa8eda2543a988f734f8ea728a6f321bb426ec79cc121c5f4f115f41f10",
        "4e236fa8eda2543a988f734f8ea728a6f321bb426ec79cc121c5f4f115f41f10",
    ),
    PublishedList(
        "val",
        None,
        240,
        "bae6fbf5aa020ce4e589b76c51da21cc9b77970877579612e0a0d3c4b43688b0",
        "bae6fbf5aa020ce4e589b76c51da21cc9b77970877579612e0a0d3c4b43688b0",
    ),
    PublishedList(
        "test",
        None,
        240,
        "0efbe526c0dd445b580de07cae179df51fffc91255599e96b13d8b16e7e04c0c",
        "0efbe526c0dd445b580de07cae179df51fffc91255599e96b13d8b16e7e04c0c",
    ),
)


class FssLists(ListFormat[list[str]]):
    """Lists of class names, one per split."""

    family = "fss"
    file_pattern = "fss/{trn,val,test}.txt"
    origin = "`data/splits` of the HSNet repository"
    published = _PUBLISHED
    unit = ("class", "classes")
    mixed_up = "classes"

    def file_names(self, split: str, fold: int | None) -> tuple[str, ...]:
        """Return the one text file of a split."""
        return (f"fss/{split}.txt",)

    def read(self, path: Path) -> list[str]:
        """Read the class names, in file order.

        Raises:
            DataError: if a line is not a folder name, or occurs twice; the error gives its number.
        """
        names: dict[str, int] = {}
        for number, line in read_list_lines(path):
            if "/" in line or "\\" in line or line in {".", ".."}:
                raise DataError(
                    f"{path}, line {number}: {shorten_line(line)!r} is not a class name{describe_line(line)}. Expected "
                    "is a list of FSS-1000 as HSNet has it, one class folder per line: `data/splits/fss` of the HSNet "
                    "repository. Next: `fssbench data splits DIR`"
                )
            if line in names:
                raise DataError(f"{path}, line {number}: {line!r} stands already in line {names[line]}")
            names[line] = number
        return list(names)

    def hashed_lines(self, content: list[str]) -> list[str]:
        """Return the class names sorted, because their order has no effect."""
        return sorted(content)


LISTS = FssLists()
