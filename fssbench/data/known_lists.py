"""Which of the published lists a list of images is, by a hash of its entries.

The hash is taken over what a list says, not over its file: line ends, a byte order mark and the form
(pickle or JSON) make no other list.  The lists themselves belong to their authors and are not here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fssbench.errors import ListError

Family = Literal["pascal", "coco", "fss"]


@dataclass(frozen=True, slots=True)
class KnownList:
    """A published list.  Without a hash only its length is known, which proves nothing."""

    family: Family
    split: str
    fold: int | None
    entries: int
    sha256: str | None = None
    """Hash of the entries in order."""
    set_sha256: str | None = None
    """Hash of the entries sorted, by which the same entries in another order are known."""

    @property
    def place(self) -> str:
        """Where the list belongs, such as `val fold 0`."""
        return self.split if self.fold is None else f"{self.split} fold {self.fold}"

    @property
    def name(self) -> str:
        """The place with the family, such as `pascal val fold 0`."""
        return f"{self.family} {self.place}"


KNOWN: tuple[KnownList, ...] = (
    # hashed: the lists of juhongm999/hsnet, data/splits
    KnownList(
        "pascal",
        "trn",
        0,
        2_286,
        "40fded8be6afbc4b70953277f2a178af8055cddd4e73fb4646b7bf19704b9da2",
        "59403eff71fd4457978361dba0713fbf96b2da0fdd48a41bbfc688c7f220cf17",
    ),
    KnownList(
        "pascal",
        "trn",
        1,
        3_425,
        "558167c3c6fea0cda1bb7c7a275e66d5de7bc13cbc97e00c5872ac84d5f0954e",
        "6cc5ee4349a68aa68ea0dd99e7545a49ba43a5d355ebf70653a37385799ca677",
    ),
    KnownList(
        "pascal",
        "trn",
        2,
        5_883,
        "d07e35f4a4ae95774c619bafb57d65d682dbd5b9f33c7f71a4f5cef8e3f99609",
        "dd87152f9077a031d2078c7a40928d5c5db42d128e0ffe32acd07b34ce258d4a",
    ),
    KnownList(
        "pascal",
        "trn",
        3,
        2_086,
        "ffe09100c0c4d9c19d074a33b0f29fe5a89a730579ba39a9f9e908186298ac17",
        "c34b93f107408bed02af636416057ac09a87c770dda2d77d45dcb08f289265ff",
    ),
    KnownList(
        "pascal",
        "val",
        0,
        346,
        "748e2f4732ac502cb3aa1f3768936b394bd7ba4e611ac5bf959291a268e249df",
        "748e2f4732ac502cb3aa1f3768936b394bd7ba4e611ac5bf959291a268e249df",
    ),
    KnownList(
        "pascal",
        "val",
        1,
        451,
        "afce1929e4dacbc13c07f9a26d4ce7738d415e1b18443fe173e58303836f5c14",
        "afce1929e4dacbc13c07f9a26d4ce7738d415e1b18443fe173e58303836f5c14",
    ),
    KnownList(
        "pascal",
        "val",
        2,
        725,
        "50b1f5218e8f882ca65d85da5be230b978a70067e9b3e0e9fca1528f546bd7fb",
        "50b1f5218e8f882ca65d85da5be230b978a70067e9b3e0e9fca1528f546bd7fb",
    ),
    KnownList(
        "pascal",
        "val",
        3,
        346,
        "c3825d7c52d1608d4c62c5b85d6ef3f74cf5898032bc068a94c971df17bdf71a",
        "c3825d7c52d1608d4c62c5b85d6ef3f74cf5898032bc068a94c971df17bdf71a",
    ),
    KnownList(
        "coco",
        "val",
        0,
        35_783,
        "6c40cdc68caaad119266336f0f9c5258812939aaaff510323d8464b939585c57",
        "d3c3b8ff522ef41d7b56c1fa9b927a7de9167946a1ff481beea1121889fb2c54",
    ),
    KnownList(
        "coco",
        "val",
        1,
        17_912,
        "55953ababcd85457fd2ebf355411e21d8550a2a6c905d100a09cf5b2166eb294",
        "0220b1927467238d4e0f7bad44c6bd5627395d8737b775ab532b64d1078b79a8",
    ),
    KnownList(
        "coco",
        "val",
        2,
        14_563,
        "522a93499863ee8bb8afdbec87d6f6cea55e658cd5e54262193e0646b1ba2a2a",
        "4ea175b8fe01f91500ad75ca0246968c63d6955c528d51afe6b9e0e0a1985e36",
    ),
    KnownList(
        "coco",
        "val",
        3,
        14_315,
        "c5b47873916dfede0fcbcaea5443b499a37c7e307bf9bc23f712667fe1244d7d",
        "fbfd0137319ccd6d7114e9fc1ba62688168aeec952d79ccb081eaf0e34055ffa",
    ),
    KnownList(
        "fss",
        "trn",
        None,
        520,
        "4e236fa8eda2543a988f734f8ea728a6f321bb426ec79cc121c5f4f115f41f10",
        "4e236fa8eda2543a988f734f8ea728a6f321bb426ec79cc121c5f4f115f41f10",
    ),
    KnownList(
        "fss",
        "val",
        None,
        240,
        "bae6fbf5aa020ce4e589b76c51da21cc9b77970877579612e0a0d3c4b43688b0",
        "bae6fbf5aa020ce4e589b76c51da21cc9b77970877579612e0a0d3c4b43688b0",
    ),
    KnownList(
        "fss",
        "test",
        None,
        240,
        "0efbe526c0dd445b580de07cae179df51fffc91255599e96b13d8b16e7e04c0c",
        "0efbe526c0dd445b580de07cae179df51fffc91255599e96b13d8b16e7e04c0c",
    ),
    # counted: the trn lists of the same repository, by their published lengths
    KnownList("coco", "trn", 0, 95_476),
    KnownList("coco", "trn", 1, 133_927),
    KnownList("coco", "trn", 2, 141_054),
    KnownList("coco", "trn", 3, 141_016),
)

PMNET_COCO: Mapping[str, tuple[int, ...]] = {
    "trn": (95_466, 133_910, 141_036, 141_004),
    "val": (35_770, 17_902, 14_559, 14_303),
}
"""Lengths of the COCO lists by fold that chenhao-zju/PMNet gives out ("new_coco"): files that its
authors lacked are left out, so their episodes are other ones."""

_COCO_NUMBER = re.compile(r"\d{12}(?=\.jpg$)")
_BY_PLACE = {(known.family, known.split, known.fold): known for known in KNOWN}
_BY_HASH = {known.sha256: known for known in KNOWN if known.sha256 is not None}


def pascal_lines(pairs: Iterable[tuple[str, int]]) -> list[str]:
    """Lines to be hashed of a PASCAL list: the reference's own, in file order."""
    return [f"{name}__{class_id + 1:02}" for name, class_id in pairs]


def coco_lines(lists: Mapping[int, Sequence[str]]) -> list[str]:
    """Lines to be hashed of a COCO list: class and image number, by class, then in list order.

    Images go by their numbers, which the releases of 2014 and 2017 share.
    """
    return [f"{class_id} {_number(item)}" for class_id in sorted(lists) for item in lists[class_id]]


def _number(item: str) -> str:
    number = _COCO_NUMBER.search(item)
    return number[0] if number else item


def fss_lines(names: Iterable[str]) -> list[str]:
    """Lines to be hashed of an FSS-1000 list: class names, sorted, for their order decides nothing."""
    return sorted(names)


def list_sha256(lines: Iterable[str]) -> str:
    """The hash of a list."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ListJudgement:
    """What is known about a list in its place."""

    place: KnownList
    problem: str | None = None
    """Why it is not the reference list; None if nothing speaks against it."""
    proven: bool = False
    """Whether its hash is that of the reference list."""


def judge_list(
    family: Family, split: str, fold: int | None, lines: Sequence[str], path: Path | None = None
) -> ListJudgement:
    """Compare a list with the reference list of its place.

    Args:
        family: kind of list.
        split: split that the list stands for.
        fold: fold that it stands for; None for a family without folds.
        lines: what `pascal_lines`, `coco_lines` or `fss_lines` give.
        path: the file, to be named in the error.

    Raises:
        ListError: if it is the reference list of another split.  Images or classes that were trained
            on, or that serve for validation, would then be tested: this is always a mistake.
    """
    place = _BY_PLACE[family, split, fold]
    known = _BY_HASH.get(list_sha256(lines))
    if known is place:
        return ListJudgement(place, proven=True)
    unit = "classes" if family == "fss" else "entries"
    if known is not None and known.family == family and known.split != split:
        what = "classes" if family == "fss" else "images"
        raise ListError(
            f"{path or f'the list {place.name}'} holds the {known.entries:,} {unit} of the reference's "
            f"{known.place}: {what} of one split would be taken for those of another. "
            "Next: put the list of that name there again (`data/splits` of the HSNet repository)"
        )
    return ListJudgement(place, _problem(place, known, lines, unit))


def _problem(place: KnownList, known: KnownList | None, lines: Sequence[str], unit: str) -> str | None:
    """Why a list that is not proven is another than the reference's; None if only its length is known."""
    if known is not None:
        return f"the reference's {known.place}"
    if len(lines) != place.entries:
        lengths = PMNET_COCO.get(place.split, ()) if place.family == "coco" else ()
        pmnet = place.fold is not None and len(lines) in lengths[place.fold : place.fold + 1]
        noun = unit if len(lines) != 1 else {"entries": "entry", "classes": "class"}[unit]
        return (
            f"{len(lines):,} {noun}, the reference has {place.entries:,}"
            f"{' (as many as the lists of PMNet)' if pmnet else ''}"
        )
    if place.sha256 is None:
        return None
    if list_sha256(sorted(lines)) == place.set_sha256:
        return f"the reference's {unit} in another order"
    return f"{len(lines):,} {unit} as in the reference, but other ones"
