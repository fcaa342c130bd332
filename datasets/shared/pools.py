"""Pools made from lists and from files: which entries are on disk, and which classes a mask shows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fssbench.api import (
    DataError,
    Entry,
    ListError,
    ListFormat,
    ListJudgement,
    OtherList,
    Pool,
    Population,
    Verification,
    find_size_marks,
    list_files,
    read_index,
)

from . import checks
from .scan_memory import recall_scan, scan_path, store_scan

LISTED = "reference list files"
"""Source of a pool whose lists all have known hashes."""
COUNTED = "list files of the published lengths, whose hashes are not known"
OTHER = "other list files"
SCAN_VERSION = 2
"""Increase it if a rule for refusing masks changes.  Otherwise a stored scan would hide a refusal."""

T = TypeVar("T")


def read_list(form: ListFormat[T], path: Path) -> T:
    """Read a list file that must be there.

    Args:
        form: the format of the list.
        path: the file.

    Raises:
        ListError: if it is missing or malformed.
    """
    try:
        return form.read(path)
    except DataError as error:
        raise as_list_error(error, "`fssbench data splits DIR`") from None


def as_list_error(error: DataError, remedy: str) -> ListError:
    """Turn an error into a ListError that says what to do next."""
    text = str(error)
    return ListError(text if "Next:" in text else f"{text.rstrip('.')}. Next: {remedy}")


def collect_other_list(judgement: ListJudgement, classes: Iterable[int]) -> tuple[OtherList, ...]:
    """Return the list of a judgement if it is not the reference list, as a pool carries it.

    Args:
        judgement: what is known about the list.
        classes: classes that the reference list of this place holds, and those the list itself holds.
    """
    if judgement.problem is None:
        return ()
    return (OtherList(judgement.name, frozenset(classes), judgement.problem),)


def pool_from_lists(
    entries: Iterable[Entry],
    present: Callable[[Entry], bool] | None,
    population: Population,
    *,
    other_lists: tuple[OtherList, ...] = (),
    proven: bool = True,
) -> Pool:
    """Make a pool of listed entries, cut to those on disk, in list order.

    Args:
        entries: the whole list.
        present: whether an entry's image and mask are on disk; None if no file is looked at.
        population: the published size.
        other_lists: lists that are not the reference's.
        proven: whether all lists are known by their hashes; only then are they called the reference's.
    """
    whole = tuple(entries)
    kept = whole if present is None else tuple(e for e in whole if present(e))
    source = LISTED if proven else COUNTED
    if other_lists:
        source = f"{OTHER} ({'; '.join(f'{other.name}: {other.problem}' for other in other_lists)})"
    if len(kept) < len(whole):
        source += f", {len(kept):,} of {len(whole):,} entries on disk"
    return Pool(kept, source, population=population, other_lists=other_lists)


def pool_from_files(entries: Iterable[Entry], rule: str, population: Population, place: str) -> Pool:
    """Make a pool by a rule from the files, for a data set that has reference lists.

    A pool whose size differs from the published size is marked for its size.  A pool of the published size may
    still hold other images, so its lists are marked.

    Args:
        entries: what the rule gives.
        rule: the rule, in words.
        population: the published size.
        place: data set and split, such as `pascal val`.
    """
    pool = Pool(tuple(entries), rule, population=population)
    if find_size_marks(pool):
        return pool
    classes = frozenset(e.class_id for e in pool.entries)
    return replace(pool, other_lists=(OtherList(place, classes, "made from the files on disk"),))


def warn_of_other_lists(report: Verification, other_lists: Iterable[OtherList]) -> None:
    """Warn of each list that is not the reference's."""
    for other in other_lists:
        checks.add_warning(
            report,
            f"list {other.name}",
            f"not the reference list: {other.problem}",
            "results are marked `other lists`; import the lists of the HSNet repository for benchmark numbers",
        )


def scan_covered_labels(
    root: Path,
    folder: str,
    share: float,
    labels: Collection[int],
    *,
    ignore: bool = True,
    palette: NDArray[np.uint8] | None = None,
) -> dict[str, list[int]]:
    """Return the labels that cover at least `share` of each index mask in a folder, by stem, in name order.

    Opening every mask takes minutes on a full data set, so the answer is kept in the cache folder
    under a hash of all names, sizes and times of change.

    Args:
        root: the data set's folder.
        folder: the masks, relative to the root.
        share: part of a mask.
        labels: values that are classes; a mask with any other is refused.
        ignore: whether 255 may occur.
        palette: colours (256, 3) that the values should have, if the data set prescribes them.

    Raises:
        DataError: if the folder holds no mask, or one cannot be read or holds other labels, by file and value.
    """
    place = root / folder
    masks = list_files(place, ".png")
    if not masks:
        raise DataError(f"{place} holds no mask. Next: `fssbench data prepare`, or `fssbench data verify`")
    stats = [
        (name, status.st_size, status.st_mtime_ns)
        for name, on_disk in masks.items()
        for status in [(place / on_disk).stat()]
    ]
    memory = scan_path(SCAN_VERSION, str(place.resolve()), share, stats)
    stored = recall_scan(memory)
    if stored is not None:
        return stored
    answer: dict[str, list[int]] = {}
    for name, on_disk in masks.items():
        label = read_index(place / on_disk, labels, ignore=ignore, palette=palette)
        counts = np.bincount(label.ravel(), minlength=256)
        answer[name[:-4]] = [int(v) for v in range(1, 255) if counts[v] and counts[v] >= share * label.size]
    store_scan(memory, answer)
    return answer
