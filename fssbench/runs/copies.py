"""Run folders with one identity: copies of one measurement, of which one is counted.

Copies must agree in every episode that both hold.  Where they do not, one of them is wrong, and no
rule can tell which.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from fssbench.errors import DataError
from fssbench.runs.store import StoredRun


def drop_copies(stored: Iterable[StoredRun]) -> tuple[list[StoredRun], list[str]]:
    """Keep one run per identity, the one with most episodes.

    Args:
        stored: runs as they were read.

    Returns:
        The runs to count, in their order, and one note per copy that is left out.

    Raises:
        DataError: if two runs of one identity hold other counts for the same episodes.
    """
    groups: dict[str, list[StoredRun]] = defaultdict(list)
    for run in stored:
        groups[run.identity].append(run)
    kept, notes = [], []
    for copies in groups.values():
        fullest = max(copies, key=lambda run: run.done)  # the first of several
        kept.append(fullest)
        for copy in copies:
            if copy.path.resolve() != fullest.path.resolve():
                _require_agreement(fullest, copy)
                counted = (
                    "" if copy.done == fullest.done else f" ({copy.done} of its {fullest.done} episodes)"
                )
                notes.append(f"left out: {copy.path} is the same measurement as {fullest.path}{counted}")
    return kept, notes


def _require_agreement(one: StoredRun, other: StoredRun) -> None:
    """Refuse two copies of one measurement that hold other counts."""
    shared = sorted(one.records.keys() & other.records.keys())
    differ = [index for index in shared if one.records[index] != other.records[index]]
    if not differ:
        return
    raise DataError(
        f"{one.path} and {other.path} hold the same measurement (identity {one.identity[:12]}) with other counts "
        f"in {len(differ)} of {len(shared)} episodes, the first is episode {differ[0]}. One of them was computed "
        "differently or changed afterwards. Next: delete both folders and run again, or give the one that you trust"
    )
