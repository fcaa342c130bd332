"""Integer counts in, scores out.  Pure functions; the counts are the result, scores are views.

Counts are int64 and added as integers, so any split over shards gives the same bits.  (float32
counters, as several reference meters use, lose every increment past 2**24.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fssbench.contracts.marks import Mark, MarkKind
from fssbench.errors import UsageError

Absent = Literal["zero", "exclude"]


def _bool(values: Any, name: str) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.dtype != np.bool_:
        values = np.unique(array)
        if not np.isin(values, (0, 1)).all():
            raise UsageError(f"{name} must be binary (bool, or values 0 and 1); found {values[:5].tolist()}")
        array = array.astype(np.bool_)
    return array


def count(
    prediction: Any, target: Any, ignore: Any | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Intersection and union of background and foreground, in pixels.

    Args:
        prediction: binary mask of any shape, array or tensor.
        target: binary mask of that shape.
        ignore: binary mask of that shape, or None; true where a pixel counts for nothing.

    Returns:
        Two int64 arrays of shape (2,): intersections and unions, background first.

    Raises:
        UsageError: where shapes differ or a mask is not binary.

    Example:
        >>> inter, union = count([[1, 1], [0, 0]], [[1, 0], [0, 0]])
        >>> inter.tolist(), union.tolist()
        ([2, 1], [3, 2])
    """
    p, t = _bool(prediction, "prediction"), _bool(target, "target")
    if p.shape != t.shape:
        raise UsageError(f"prediction {p.shape} and target {t.shape} differ in shape")
    pixels = p.size
    if ignore is not None:
        i = _bool(ignore, "ignore")
        if i.shape != p.shape:
            raise UsageError(f"ignore {i.shape} and prediction {p.shape} differ in shape")
        pixels -= int(np.count_nonzero(i))
        p, t = p & ~i, t & ~i
    both = int(np.count_nonzero(p & t))
    either = int(np.count_nonzero(p)) + int(np.count_nonzero(t)) - both
    return np.array([pixels - either, both], np.int64), np.array([pixels - both, either], np.int64)


@dataclass(frozen=True, repr=False)
class Score:
    """Scores of one fold, in percent, unrounded."""

    miou: float
    """Mean over classes of (sum of intersections / sum of unions)."""
    fb_iou: float
    """Mean of background and foreground IoU, each pooled over all episodes."""
    per_class: dict[int, float]
    """Foreground IoU by class id; nan for a class that is left out of the mean."""
    absent: tuple[int, ...]
    """Classes whose union is zero, those in `unmet` apart."""
    episodes: int
    unmet: tuple[int, ...] = ()
    """Classes left out of the mean because the run, which was not run whole, met no episode of theirs."""
    marks: tuple[Mark, ...] = ()
    """What keeps the figures from being benchmark figures; counts alone do not tell, so `score` gives classes that
    no episode was of, and stored runs and evaluations give all."""

    def __str__(self) -> str:
        """Figures to one place, number of episodes, marks."""
        shown = f" [{'; '.join(self.marks)}]" if self.marks else ""
        return f"mIoU {self.miou:.1f}, FB-IoU {self.fb_iou:.1f}, {self.episodes} episodes{shown}"

    __repr__ = __str__


def scored_classes(classes: Iterable[int], class_ids: ArrayLike, *, whole: bool) -> tuple[int, ...]:
    """Classes that mIoU is the mean over: those of the fold, or those met where a plan was not run whole.

    The published rule for absent classes belongs to whole plans.  A capped or unfinished run has met
    some classes only because it stopped; the others are left out, by their episodes and not by their
    pixels, so that every method on these episodes is scored on the same classes.

    Args:
        classes: class ids of the fold.
        class_ids: (N,) class id of each counted episode.
        whole: whether every episode of an uncapped plan was counted.

    Example:
        >>> scored_classes([0, 1, 2], [2, 0, 2], whole=False)
        (0, 2)
    """
    met = set(np.unique(np.asarray(class_ids, dtype=np.int64)).tolist())
    return tuple(c for c in classes if whole or c in met)


def class_marks(classes: Iterable[int], class_ids: ArrayLike) -> tuple[Mark, ...]:
    """Say how many classes were met, if some were not.

    Example:
        >>> class_marks([0, 1, 2], [2, 0, 2])
        ('classes (2 of 3 classes met)',)
    """
    every = set(classes)
    met = every & set(np.unique(np.asarray(class_ids, dtype=np.int64)).tolist())
    return () if met == every else (Mark(MarkKind.CLASSES, f"{len(met)} of {len(every)} classes met"),)


def totals(class_ids: ArrayLike, counts: ArrayLike, classes: Iterable[int]) -> NDArray[np.int64]:
    """Sum (N, 2) counts per class: (len(classes), 2) int64, in the order of `classes`.

    Raises:
        UsageError: where an episode's class is none of `classes`.
    """
    order = list(classes)
    ids = np.asarray(class_ids, dtype=np.int64)
    place = {c: i for i, c in enumerate(order)}
    foreign = sorted({int(c) for c in np.unique(ids)} - set(place))
    if foreign:
        raise UsageError(f"episodes of classes {foreign[:5]} in a fold of classes {order[:5]}...")
    out = np.zeros((len(order), 2), dtype=np.int64)
    rows = np.fromiter((place[int(c)] for c in ids), dtype=np.int64, count=len(ids))
    np.add.at(out, rows, np.asarray(counts, dtype=np.int64).reshape(len(ids), 2))
    return out


def score(
    class_ids: ArrayLike,
    inter: ArrayLike,
    union: ArrayLike,
    classes: Iterable[int],
    *,
    absent: Absent = "zero",
    whole: bool = True,
) -> Score:
    """Scores of a fold from stored counts.

    Args:
        class_ids: (N,) class id of each episode.
        inter: (N, 2) intersections, background and foreground.
        union: (N, 2) unions.
        classes: class ids of the fold: what mIoU is the mean over.
        absent: what a class with union zero is worth: `zero` as in HSNet's meter (the union is
            floored at one pixel), `exclude` leaves it out of the mean and names it.
        whole: whether every episode of an uncapped plan was counted; if not, classes without an
            episode are left out of the mean whatever `absent` says (see `scored_classes`).

    Returns:
        mIoU, FB-IoU and per-class IoU in percent.

    Raises:
        UsageError: for an episode of a class outside the fold, or no class at all.

    Example:
        >>> score([0, 0], [[2, 1], [1, 1]], [[3, 2], [2, 3]], classes=[0]).miou
        40.0
    """
    order = list(classes)
    if not order:
        raise UsageError("a fold needs at least one class")
    i, u = totals(class_ids, inter, order), totals(class_ids, union, order)
    missing = u[:, 1] == 0
    ious = i[:, 1] / np.maximum(u[:, 1], 1) * 100
    if absent == "exclude":
        ious = np.where(missing, np.nan, ious)
    scored = scored_classes(order, class_ids, whole=whole)
    ious = np.where(np.isin(order, scored), ious, np.nan)
    pooled = i.sum(axis=0) / np.maximum(u.sum(axis=0), 1) * 100
    kept = ious[~np.isnan(ious)]
    return Score(
        miou=float(kept.mean()) if len(kept) else float("nan"),
        fb_iou=float(pooled.mean()),
        per_class=dict(zip(order, map(float, ious), strict=True)),
        absent=tuple(c for c, m in zip(order, missing, strict=True) if m and c in scored),
        unmet=tuple(c for c in order if c not in scored),
        episodes=len(np.asarray(class_ids)),
        marks=class_marks(order, class_ids),
    )
