"""Pools out of lists and files: what is on disk, and which classes a mask holds."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from fssbench.api import DataError, Entry, Pool
from fssbench.imaging import read_index
from fssbench.listing import list_files
from fssbench.splits import cache_folder

LISTED = "reference list files"


def from_lists(entries: Iterable[Entry], present: Callable[[Entry], bool] | None) -> Pool:
    """A pool of listed entries, cut to those on disk, in list order.

    Args:
        entries: the whole list.
        present: whether an entry's image and mask are on disk; None where no file is looked at.
    """
    whole = tuple(entries)
    kept = whole if present is None else tuple(e for e in whole if present(e))
    cut = len(kept) < len(whole)
    source = f"{LISTED}, {len(kept):,} of {len(whole):,} entries on disk" if cut else LISTED
    return Pool(kept, source, published=len(whole))


def covered(root: Path, folder: str, share: float) -> dict[str, list[int]]:
    """Labels that cover at least `share` of each index mask in a folder, by stem, in name order.

    Opening every mask takes minutes on a full data set, so the answer is kept in the cache folder
    under a hash of all names, sizes and times of change.

    Raises:
        DataError: where the folder holds no mask, or one cannot be read.
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
    listing = json.dumps([1, str(place.resolve()), share, stats])
    memo = cache_folder() / "scans" / f"{hashlib.sha256(listing.encode()).hexdigest()[:32]}.json"
    try:
        return {str(k): [int(v) for v in vs] for k, vs in json.loads(memo.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        pass  # absent or damaged: look again
    answer: dict[str, list[int]] = {}
    for name, on_disk in masks.items():
        label = read_index(place / on_disk)
        counts = np.bincount(label.ravel(), minlength=256)
        answer[name[:-4]] = [int(v) for v in range(1, 255) if counts[v] and counts[v] >= share * label.size]
    _remember(memo, answer)
    return answer


def _remember(memo: Path, answer: dict[str, list[int]]) -> None:
    try:
        memo.parent.mkdir(parents=True, exist_ok=True)
        partial = memo.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(answer))
        partial.replace(memo)
    except OSError:
        pass  # a read-only cache costs time, nothing else
