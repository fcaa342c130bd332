"""Marks that follow from what a run has stored, beside those that were known before its first episode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from fssbench.images.gate import AS_PUBLISHED, DOUBTS
from fssbench.metrics import class_marks
from fssbench.runs.store import StoredRun


def run_marks(run: StoredRun) -> list[str]:
    """All marks of a stored run: those of its context, its doubts, and how many classes it met."""
    records = run.records.values()
    return [
        *run.manifest.context.marks,
        *doubt_marks(r.doubts for r in records),
        *class_marks(run.plan.classes, [r.class_id for r in records]),
    ]


def doubt_marks(episodes: Iterable[tuple[str, ...]]) -> list[str]:
    """One mark per kind of doubt, with the number of episodes that have it.

    Args:
        episodes: the kinds of doubt of each episode, sound ones among them.
    """
    each = list(episodes)
    return counted_marks(Counter(kind for kinds in each for kind in kinds), len(each), "masks")


def counted_marks(counts: Counter[str], total: int, what: str) -> list[str]:
    """Marks from the number of episodes per kind of doubt, out of `total`; `what` is doubtful or as published."""
    return [
        f"{'as-published' if kind in AS_PUBLISHED else 'doubtful'} {what} "
        f"({counts[kind]} of {total} episodes: {DOUBTS.get(kind, kind)})"
        for kind in sorted(counts)
        if counts[kind]
    ]
