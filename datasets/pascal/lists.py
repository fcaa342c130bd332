"""The fold lists of PASCAL-5i that HSNet and later code publish: lines `name__cc`."""

from __future__ import annotations

import re
from pathlib import Path

from fssbench.api import DataError, ListFormat, PublishedList, describe_line, read_list_lines, shorten_line

FOLDS = 4
CLASSES_PER_FOLD = 5
ORIGIN = "`data/splits` of the HSNet repository"

_LINE = re.compile(r"([A-Za-z0-9_-]+?)__(\d{1,2})")
_PUBLISHED = (
    # split, fold, number of lines, hash in file order, hash in sorted order; from juhongm999/hsnet, data/splits
    PublishedList(
        "trn",
        0,
        2_286,
        "40fded8be6afbc4b70953277f2a178af8055cddd4e73fb4646b7bf19704b9da2",
        "59403eff71fd4457978361dba0713fbf96b2da0fdd48a41bbfc688c7f220cf17",
    ),
    PublishedList(
        "trn",
        1,
        3_425,
        "558167c3c6fea0cda1bb7c7a275e66d5de7bc13cbc97e00c5872ac84d5f0954e",
        "6cc5ee4349a68aa68ea0dd99e7545a49ba43a5d355ebf70653a37385799ca677",
    ),
    PublishedList(
        "trn",
        2,
        5_883,
        "d07e35f4a4ae95774c619bafb57d65d682dbd5b9f33c7f71a4f5cef8e3f99609",
        "dd87152f9077a031d2078c7a40928d5c5db42d128e0ffe32acd07b34ce258d4a",
    ),
    PublishedList(
        "trn",
        3,
        2_086,
        "ffe09100c0c4d9c19d074a33b0f29fe5a89a730579ba39a9f9e908186298ac17",
        "c34b93f107408bed02af636416057ac09a87c770dda2d77d45dcb08f289265ff",
    ),
    PublishedList(
        "val",
        0,
        346,
        "748e2f4732ac502cb3aa1f3768936b394bd7ba4e611ac5bf959291a268e249df",
        "748e2f4732ac502cb3aa1f3768936b394bd7ba4e611ac5bf959291a268e249df",
    ),
    PublishedList(
        "val",
        1,
        451,
        "afce1929e4dacbc13c07f9a26d4ce7738d415e1b18443fe173e58303836f5c14",
        "afce1929e4dacbc13c07f9a26d4ce7738d415e1b18443fe173e58303836f5c14",
    ),
    PublishedList(
        "val",
        2,
        725,
        "50b1f5218e8f882ca65d85da5be230b978a70067e9b3e0e9fca1528f546bd7fb",
        "50b1f5218e8f882ca65d85da5be230b978a70067e9b3e0e9fca1528f546bd7fb",
    ),
    PublishedList(
        "val",
        3,
        346,
        "c3825d7c52d1608d4c62c5b85d6ef3f74cf5898032bc068a94c971df17bdf71a",
        "c3825d7c52d1608d4c62c5b85d6ef3f74cf5898032bc068a94c971df17bdf71a",
    ),
)


class PascalLists(ListFormat[list[tuple[str, int]]]):
    """Lists of (image name, 0-based class) pairs, one per split and fold."""

    family = "pascal"
    file_pattern = "pascal/{trn,val}/fold*.txt"
    origin = ORIGIN
    published = _PUBLISHED
    line_forms = (
        (r"\S+\.(?:jpe?g|png)[\s,]+\S+\.png", "an image and its mask, as the lists of PFENet name them"),
        (r"\S+\s+-?[01]", "a name and a flag, as the lists of one class (VOC's ImageSets/Main) have them"),
        (r"[\w-]+__\d{1,2}", "an image and its class, as the fold lists of PASCAL (HSNet) name them"),
    )

    def file_names(self, split: str, fold: int | None) -> tuple[str, ...]:
        """Return the one text file of a split and fold."""
        return (f"pascal/{split}/fold{fold}.txt",)

    def read(self, path: Path) -> list[tuple[str, int]]:
        """Read the pairs of image name and 0-based class, in file order.

        Raises:
            DataError: if a line is not `name__cc` with class 1..20, or occurs twice; the error gives its number.
        """
        pairs: dict[tuple[str, int], int] = {}
        for number, line in read_list_lines(path):
            match = _LINE.fullmatch(line)
            if match is None or not 1 <= int(match[2]) <= FOLDS * CLASSES_PER_FOLD:
                raise DataError(
                    f"{path}, line {number}: {shorten_line(line)!r} is not `name__cc` with class 01..20"
                    f"{describe_line(line)}. Expected is a list of PASCAL as HSNet has it: `data/splits/pascal` of the "
                    "HSNet repository. Next: `fssbench data splits DIR`"
                )
            pair = (match[1], int(match[2]) - 1)
            if pair in pairs:
                raise DataError(f"{path}, line {number}: {line!r} is already in line {pairs[pair]}")
            pairs[pair] = number
        return list(pairs)

    def hashed_lines(self, content: list[tuple[str, int]]) -> list[str]:
        """Return the lines as HSNet writes them, in file order."""
        return [f"{name}__{class_id + 1:02}" for name, class_id in content]


LISTS = PascalLists()
