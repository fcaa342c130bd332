"""Run folders with the same identity: copies of one measurement, which is counted once.

Copies must agree in every episode that both hold.  If they do not, one of them is wrong, and no rule can decide which.
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
        DataError: if two runs of one identity hold different counts for the same episodes.
    """
    groups: dict[str, list[StoredRun]] = defaultdict(list)
    for run in stored:
        groups[run.identity].append(run)
    runs, notes = [], []
    for copies in groups.values():
        fullest = max(copies, key=lambda run: run.done)  # the first of several
        runs.append(fullest)
        for copy in copies if len(copies) > 1 else ():
            if copy.path.resolve() != fullest.path.resolve():
                _require_agreement(fullest, copy)
                counted = (
                    "" if copy.done == fullest.done else f" ({copy.done} of its {fullest.done} episodes)"
                )
                notes.append(
                    f"{copy.path} is left out: it is the same measurement as {fullest.path}{counted}"
                )
    return runs, notes


def _require_agreement(one: StoredRun, other: StoredRun) -> None:
    """Refuse two copies of one measurement with different counts."""
    shared = sorted(one.records.keys() & other.records.keys())
    differ = [index for index in shared if one.records[index] != other.records[index]]
    if not differ:
        return
    raise DataError(
        f"{one.path} and {other.path} hold the same measurement (identity {one.identity[:12]}), but different counts "
        f"in {len(differ)} of {len(shared)} episodes. The first is episode {differ[0]}. One of them was computed "
        "differently or changed afterwards. Next: delete both folders and run again, or give the one that you trust"
    )
