"""Marks that follow from the stored records of a run, in addition to those known before its first episode."""

from __future__ import annotations

from collections import Counter

from fssbench.contracts.episodes import Plan
from fssbench.contracts.marks import Mark, MarkKind
from fssbench.data.populations import is_of_own_data
from fssbench.images.judgements import AS_PUBLISHED, DOUBTS
from fssbench.metrics import mark_missing_classes
from fssbench.runs.rounding_probes import make_rounding_marks
from fssbench.runs.store import StoredRun


def make_run_marks(run: StoredRun) -> list[Mark]:
    """Return all marks of a stored run: of its context, episodes, precision and batch, doubts, and missing classes."""
    doubts = Counter(kind for kinds in run.table.doubts.values() for kind in kinds)
    return [
        *run.manifest.context.marks,
        *make_repeat_marks(run.plan),
        *make_rounding_marks(run),
        *make_counted_marks(doubts, run.done),
        *mark_missing_classes(run.plan.classes, run.table.class_ids.tolist()),
    ]


def make_repeat_marks(plan: Plan) -> list[Mark]:
    """Return the mark of episodes on own data that show a support several times; none if there are no such episodes.

    The published protocols draw supports with replacement, and their figures are to be reproduced.  Own data have no
    published figure, and a class with few images then has fewer different supports than shots.  The mark follows from
    the stored episodes, so runs of earlier versions have it too.
    """
    if not is_of_own_data(plan):
        return []
    count = sum(len(set(episode.supports)) < len(episode.supports) for episode in plan)
    return [Mark(MarkKind.REPEATED_SUPPORTS, f"{count} of {len(plan)} episodes")] if count else []


def make_completeness_marks(run: StoredRun) -> list[Mark]:
    """Make the mark of a run that lacks episodes; none if it has all."""
    if run.status != "incomplete":
        return []
    return [Mark(MarkKind.INCOMPLETE, f"{run.done} of {run.planned} episodes")]


def make_counted_marks(counts: Counter[str], total: int, *, training: bool = False) -> list[Mark]:
    """Make one mark per kind of doubt from the number of episodes that have it.

    Args:
        counts: episodes by kind of doubt.
        total: all episodes.
        training: whether the episodes are those of a training.
    """
    doubtful = MarkKind.DOUBTFUL_TRAINING_MASKS if training else MarkKind.DOUBTFUL_MASKS
    published = MarkKind.AS_PUBLISHED_TRAINING_MASKS if training else MarkKind.AS_PUBLISHED_MASKS
    return [
        Mark(
            published if doubt in AS_PUBLISHED else doubtful,
            f"{counts[doubt]} of {total} episodes: {DOUBTS.get(doubt, doubt)}",
        )
        for doubt in sorted(counts)
        if counts[doubt]
    ]
