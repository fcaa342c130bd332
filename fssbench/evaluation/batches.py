"""Batches of `fssbench run --batch N`: which episodes of a plan are predicted together.

The plan alone decides: episodes 0 to N-1, N to 2N-1 and so on; the last batch may be smaller.  A batch is always
predicted as a whole, also if a resumed run or a shard stores some of its episodes only.  So the neighbours of an
episode are the same in every run, and its counts do not depend on where a run was interrupted or divided.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from fssbench.contracts.episodes import Episode, Plan
from fssbench.contracts.methods import Method
from fssbench.evaluation.episode_order import list_images, order_for_reuse
from fssbench.evaluation.settings import Settings


def choose_batch(method: Method, settings: Settings) -> int:
    """Choose how many episodes a method predicts together: 1 if it adapts, because it adapts to each by itself."""
    return 1 if method.steps else settings.batch


def find_unbatched(methods: Iterable[Method], settings: Settings) -> list[str]:
    """Return the names of the methods that predict one episode at a time although more were asked for."""
    return sorted({m.card.name for m in methods if choose_batch(m, settings) != settings.batch})


def explain_unbatched(methods: Iterable[Method], settings: Settings) -> list[str]:
    """Explain in a sentence which methods predict one episode at a time; no sentence if all take batches."""
    names = ", ".join(find_unbatched(methods, settings))
    if not names:
        return []
    return [
        f"{names}: adapts to each episode by itself, so it is run at batch 1 and not at batch {settings.batch}; "
        "its figures are in the column of batch 1"
    ]


def select_batch(plan: Plan, index: int, size: int) -> tuple[Episode, ...]:
    """Select the episodes that are predicted together with an episode, itself among them, by index."""
    start = index - index % size
    return plan.episodes[start : start + size]


def split_batches(episodes: Iterable[Episode], size: int) -> list[list[Episode]]:
    """Split episodes into those of one batch; episodes of one batch must follow each other."""
    return [list(batch) for _, batch in groupby(episodes, key=lambda episode: episode.index // size)]


def order_batches_for_reuse(episodes: Sequence[Episode], size: int, room: int) -> list[Episode]:
    """Order episodes so that few images are read more than once, and those of one batch follow each other.

    Args:
        episodes: in the order of their plan.
        size: episodes of a batch.
        room: number of images that are held at a time.
    """
    batches = split_batches(episodes, size)
    ordered = order_for_reuse(batches, room, lambda batch: frozenset().union(*map(list_images, batch)))
    return [episode for batch in ordered for episode in batch]
