"""Marks of a pool that is not the published one: other lists, fewer entries, or more.

`run`, `train` and `data verify` ask the same functions, so that they cannot disagree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from fssbench.contracts.datasets import Dataset, Pool, Population
from fssbench.contracts.episodes import Plan
from fssbench.contracts.marks import Mark, MarkKind


def compare_count(count: int, published: int, what: str, *, least: bool = False) -> Mark | None:
    """Compare a count with the published one.

    Args:
        count: what is there.
        published: what was published.
        what: what is counted, such as `entries`.
        least: whether the published set may be larger than `published`.

    Returns:
        The mark, or None if nothing is known to differ.

    Example:
        >>> print(compare_count(20, 1868, "entries"))
        sample (20 of 1868 entries)
        >>> print(compare_count(3694, 2594, "entries"))
        other population (3,694 entries, published 2,594)
    """
    if count < published:
        return Mark(MarkKind.SAMPLE, f"{count} of {published} {what}")
    if count > published and not least:
        return Mark(MarkKind.OTHER_POPULATION, f"{count:,} {what}, published {published:,}")
    return None


def find_size_marks(pool: Pool) -> tuple[Mark, ...]:
    """Return the mark of a pool whose size is not the published one; at most one, the one that says most."""
    expected = pool.population
    if expected is None:
        return ()
    images = {e.item for e in pool.entries}
    counts = ((len(pool.entries), expected.entries, "entries"), (len(images), expected.images, "images"))
    for count, published, what in counts:
        if published is not None:
            mark = compare_count(count, published, what, least=expected.least)
            if mark is not None:
                return (mark,)
    return _find_class_marks(pool, expected)


def _find_class_marks(pool: Pool, expected: Population) -> tuple[Mark, ...]:
    """Return the marks of classes that have another number of images than published, although the sum is right."""
    here = Counter(Counter(class_id for class_id, _ in {(e.class_id, e.item) for e in pool.entries}).values())
    other_sizes = here - Counter(expected.images_by_class)
    if not expected.images_by_class or not other_sizes:
        return ()
    sizes = ", ".join(f"{size:,}" for size in sorted(other_sizes))
    detail = f"{other_sizes.total()} classes of other sizes than published: {sizes} images"
    return (Mark(MarkKind.OTHER_POPULATION, detail),)


def make_own_data_mark(dataset: Dataset, pool: Pool) -> Mark:
    """Return the mark of figures on a user's own images, with which no published figure can be compared."""
    images = len({entry.item for entry in pool.entries})
    return Mark(MarkKind.OWN_DATA, f"{images:,} images of {dataset.card.name}")


def is_of_own_data(plan: Plan) -> bool:
    """Return whether the episodes of a plan show a user's own images."""
    return any(mark.kind == MarkKind.OWN_DATA for mark in plan.marks)


def find_pool_marks(pool: Pool, classes: Collection[int]) -> tuple[Mark, ...]:
    """Return what keeps episodes of some classes of a pool from being the published ones.

    Args:
        pool: what is drawn from.
        classes: ids of the classes that are drawn.
    """
    affected = [other for other in pool.other_lists if other.classes & set(classes)]
    lists = "; ".join(f"{other.name}: {other.problem}" for other in affected)
    return (*find_size_marks(pool), *((Mark(MarkKind.OTHER_LISTS, lists),) if lists else ()))
