"""The fold lists of COCO-20i that HSNet and later code publish: pickled dictionaries by class."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from fssbench.api import DataError, ListFormat, PublishedList, load_plain_json, load_plain_pickle

FOLDS = 4
CLASSES = 80

_PMNET = "the lists of PMNet"
"""The lists that chenhao-zju/PMNet gives out ("new_coco") leave out files that its authors lacked, so their episodes
are other ones."""
_ITEM = re.compile(r"(train|val)\d{4}/[A-Za-z0-9_]+\.jpg")
_NUMBER = re.compile(r"\d{12}(?=\.jpg$)")
_PUBLISHED = (
    # juhongm999/hsnet, data/splits: hashes of the val lists, published lengths of the trn lists
    PublishedList(
        "val",
        0,
        35_783,
        "6c40cdc68caaad119266336f0f9c5258812939aaaff510323d8464b939585c57",
        "d3c3b8ff522ef41d7b56c1fa9b927a7de9167946a1ff481beea1121889fb2c54",
        other_lengths=((35_770, _PMNET),),
    ),
    PublishedList(
        "val",
        1,
        17_912,
        "55953ababcd85457fd2ebf355411e21d8550a2a6c905d100a09cf5b2166eb294",
        "0220b1927467238d4e0f7bad44c6bd5627395d8737b775ab532b64d1078b79a8",
        other_lengths=((17_902, _PMNET),),
    ),
    PublishedList(
        "val",
        2,
        14_563,
        "522a93499863ee8bb8afdbec87d6f6cea55e658cd5e54262193e0646b1ba2a2a",
        "4ea175b8fe01f91500ad75ca0246968c63d6955c528d51afe6b9e0e0a1985e36",
        other_lengths=((14_559, _PMNET),),
    ),
    PublishedList(
        "val",
        3,
        14_315,
        "c5b47873916dfede0fcbcaea5443b499a37c7e307bf9bc23f712667fe1244d7d",
        "fbfd0137319ccd6d7114e9fc1ba62688168aeec952d79ccb081eaf0e34055ffa",
        other_lengths=((14_303, _PMNET),),
    ),
    PublishedList("trn", 0, 95_476, other_lengths=((95_466, _PMNET),)),
    PublishedList("trn", 1, 133_927, other_lengths=((133_910, _PMNET),)),
    PublishedList("trn", 2, 141_054, other_lengths=((141_036, _PMNET),)),
    PublishedList("trn", 3, 141_016, other_lengths=((141_004, _PMNET),)),
)


class CocoLists(ListFormat[dict[int, list[str]]]):
    """Lists of items such as `val2014/COCO_val2014_000000507081.jpg` by 0-based class, one per split and fold."""

    family = "coco"
    file_pattern = "coco/{trn,val}/fold*.pkl"
    origin = "`data/splits` of the HSNet repository"
    published = _PUBLISHED
    line_forms = ((r"\S*(?:train|val)20\d\d\S*\.jpg", "an image of COCO"),)

    def file_names(self, split: str, fold: int | None) -> tuple[str, ...]:
        """Return the imported `.json` and the reference's `.pkl`."""
        return f"coco/{split}/fold{fold}.json", f"coco/{split}/fold{fold}.pkl"

    def read(self, path: Path) -> dict[int, list[str]]:
        """Read the reference's `.pkl`, or the `.json` that `fssbench data splits` makes of it.

        Raises:
            DataError: if it is not a dictionary of class 0..79 to lists of items.
        """
        if path.suffix == ".json":
            raw = load_plain_json(path)
            if isinstance(raw, dict):
                raw = {int(key) if str(key).isdecimal() else key: items for key, items in raw.items()}
        else:
            expected = (
                "a list of COCO as HSNet has it, a dictionary of class to images: `data/splits/coco` of the "
            )
            raw = load_plain_pickle(path, f"{expected}HSNet repository. Next: `fssbench data splits DIR`")
        if not isinstance(raw, dict):
            raise DataError(
                f"{path} holds a {type(raw).__name__}; expected a dictionary of class to image paths"
            )
        for key, items in raw.items():
            _check_class(path, key, items)
        return raw

    def hashed_lines(self, content: Mapping[int, Sequence[str]]) -> list[str]:
        """Return class and image number, by class, then in list order.

        Images go by their numbers, which the releases of 2014 and 2017 share.
        """
        return [f"{class_id} {_number(item)}" for class_id in sorted(content) for item in content[class_id]]

    def imported_bytes(self, content: Mapping[int, Sequence[str]], stored: bytes) -> bytes:
        """Return the list as JSON, so that it is never unpickled again."""
        return json.dumps(content, separators=(",", ":")).encode()


LISTS = CocoLists()


def _check_class(path: Path, key: object, items: object) -> None:
    """Refuse an entry of a list that is not a class with its items."""
    if type(key) is not int or not 0 <= key < CLASSES or not isinstance(items, list):
        raise DataError(f"{path}: entry {key!r} is not a class 0..{CLASSES - 1} with a list of paths")
    for position, item in enumerate(items):
        if not isinstance(item, str) or _ITEM.fullmatch(item) is None:
            raise DataError(
                f"{path}: class {key}, entry {position}: {item!r} is not a path such as "
                "val2014/COCO_val2014_000000507081.jpg"
            )
    if len(set(items)) != len(items):
        raise DataError(f"{path}: class {key} lists an image twice")


def _number(item: str) -> str:
    """Return the twelve digits of an image, or the whole item if it has none."""
    number = _NUMBER.search(item)
    return number[0] if number else item
