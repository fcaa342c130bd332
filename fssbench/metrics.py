"""Counts of pixels, and the scores that follow from them.

The counts are the stored result; scores are computed from them.  Counts are int64 and are added as integers,
so every division into shards gives the same bits.  (The float32 counters of several reference meters lose every
increment past 2**24.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fssbench.contracts.marks import Mark, MarkKind
from fssbench.errors import UsageError
from fssbench.markup import make_fields
from fssbench.plural import describe_count

Absent = Literal["zero", "exclude"]


def _as_binary(values: Any, name: str) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.dtype != np.bool_:
        values = np.unique(array)
        if not np.isin(values, (0, 1)).all():
            raise UsageError(
                f"{name} must be binary (bool, or values 0 and 1), but holds {values[:5].tolist()}"
            )
        array = array.astype(np.bool_)
    return array


def count(
    prediction: Any, target: Any, ignore: Any | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the pixels of intersection and union, for background and foreground.

    Args:
        prediction: binary mask of any shape, array or tensor.
        target: binary mask of that shape.
        ignore: binary mask of that shape, or None; true for pixels that are not counted.

    Returns:
        Two int64 arrays of shape (2,): intersections and unions, background first.

    Raises:
        UsageError: if shapes differ or a mask is not binary.

    Example:
        >>> inter, union = count([[1, 1], [0, 0]], [[1, 0], [0, 0]])
        >>> inter.tolist(), union.tolist()
        ([2, 1], [3, 2])
    """
    p, t = _as_binary(prediction, "prediction"), _as_binary(target, "target")
    if p.shape != t.shape:
        raise UsageError(f"the shapes of prediction {p.shape} and target {t.shape} differ")
    pixels = p.size
    if ignore is not None:
        i = _as_binary(ignore, "ignore")
        if i.shape != p.shape:
            raise UsageError(f"the shapes of ignore {i.shape} and prediction {p.shape} differ")
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
    """Classes whose union is zero, except those in `unmet`."""
    episodes: int
    unmet: tuple[int, ...] = ()
    """Classes left out of the mean: the plan was not run to its end, and no episode of theirs was counted."""
    marks: tuple[Mark, ...] = ()
    """Reasons why the figures are not benchmark figures.  Counts alone do not show all of them: `score` gives the
    mark of missing classes only; stored runs and evaluations give all."""

    def __str__(self) -> str:
        """Return the figures with one decimal, the number of episodes and the marks."""
        shown = f" [{'; '.join(self.marks)}]" if self.marks else ""
        return f"mIoU {self.miou:.1f}, FB-IoU {self.fb_iou:.1f}, {describe_count(self.episodes, 'episode')}{shown}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Show the score in a notebook."""
        return make_fields(
            {
                "mIoU": f"{self.miou:.1f} %",
                "FB-IoU": f"{self.fb_iou:.1f} %",
                "95 % interval": "none: a score does not hold the queries; the evaluation and fssbench.results have it",
                "episodes": self.episodes,
                "marks": self.marks,
            }
        )


def select_scored_classes(classes: Iterable[int], class_ids: ArrayLike, *, whole: bool) -> tuple[int, ...]:
    """Select the classes that mIoU averages: all of the fold, or those with an episode if the plan was not run whole.

    The published rule for absent classes holds for whole plans.  A capped or unfinished run lacks some classes
    only because it stopped early.  They are left out of the mean.  Episodes decide this and not pixels, so every
    method on these episodes is scored on the same classes.

    Args:
        classes: class ids of the fold.
        class_ids: (N,) class id of each counted episode.
        whole: whether every episode of an uncapped plan was counted.

    Example:
        >>> select_scored_classes([0, 1, 2], [2, 0, 2], whole=False)
        (0, 2)
    """
    met = set(np.unique(np.asarray(class_ids, dtype=np.int64)).tolist())
    return tuple(c for c in classes if whole or c in met)


def mark_missing_classes(classes: Iterable[int], class_ids: ArrayLike) -> tuple[Mark, ...]:
    """Make the mark that says how many classes have an episode; no mark if all have.

    Example:
        >>> mark_missing_classes([0, 1, 2], [2, 0, 2])
        ('classes (2 of 3 classes met)',)
    """
    every = set(classes)
    met = every & set(np.unique(np.asarray(class_ids, dtype=np.int64)).tolist())
    return () if met == every else (Mark(MarkKind.CLASSES, f"{len(met)} of {len(every)} classes met"),)


def sum_by_class(class_ids: ArrayLike, counts: ArrayLike, classes: Iterable[int]) -> NDArray[np.int64]:
    """Sum counts (N, k) per class.

    Returns:
        Array (len(classes), k) int64, in the order of `classes`.

    Raises:
        UsageError: if the class of an episode is not in `classes`.
    """
    order = list(classes)
    ids = np.asarray(class_ids, dtype=np.int64)
    place = {c: i for i, c in enumerate(order)}
    met, rows = np.unique(ids, return_inverse=True)
    foreign = [c for c in met.tolist() if c not in place]
    if foreign:
        raise UsageError(f"the episodes have the classes {foreign[:5]}, but the fold has {order[:5]}...")
    whole = np.asarray(counts, dtype=np.int64)
    out = np.zeros((len(order), whole.shape[1]), dtype=np.int64)
    places = np.array([place[c] for c in met.tolist()], dtype=np.int64)[rows]
    np.add.at(out, places, whole)
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
    """Compute the scores of a fold from stored counts.

    Args:
        class_ids: (N,) class id of each episode.
        inter: (N, 2) intersections, background and foreground.
        union: (N, 2) unions.
        classes: class ids of the fold; mIoU is the mean over them.
        absent: value of a class with union zero.  `zero` counts it as 0, as HSNet's meter does (the union is
            at least one pixel).  `exclude` leaves it out of the mean and names it.
        whole: whether every episode of an uncapped plan was counted; if not, classes without an
            episode are left out of the mean for both values of `absent` (see `select_scored_classes`).

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
    ids = np.asarray(class_ids, dtype=np.int64)
    parts = [np.asarray(counts, dtype=np.int64).reshape(len(ids), 2) for counts in (inter, union)]
    i, u = np.hsplit(sum_by_class(ids, np.hstack(parts), order), 2)
    met = np.unique(ids)
    missing = u[:, 1] == 0
    ious = i[:, 1] / np.maximum(u[:, 1], 1) * 100
    if absent == "exclude":
        ious = np.where(missing, np.nan, ious)
    scored = select_scored_classes(order, met, whole=whole)
    ious = np.where(np.isin(order, scored), ious, np.nan)
    pooled = i.sum(axis=0) / np.maximum(u.sum(axis=0), 1) * 100
    scored_ious = ious[~np.isnan(ious)]
    return Score(
        miou=float(scored_ious.mean()) if len(scored_ious) else float("nan"),
        fb_iou=float(pooled.mean()),
        per_class=dict(zip(order, map(float, ious), strict=True)),
        absent=tuple(c for c, m in zip(order, missing, strict=True) if m and c in scored),
        unmet=tuple(c for c in order if c not in scored),
        episodes=len(ids),
        marks=mark_missing_classes(order, met),
    )


def score_together(
    class_ids: NDArray[np.int64], counts: NDArray[np.int64], classes: Iterable[int], *, absent: Absent
) -> list[tuple[float, float]]:
    """Compute mIoU and FB-IoU of several runs of the same whole plan, to the digit as `score` does, in less time.

    Args:
        class_ids: (N,) class id of each episode.
        counts: (N, 4 x runs) intersections, then unions, background before foreground, run by run.
        classes: class ids of the fold.
        absent: value of a class with union zero, see `score`.

    Raises:
        UsageError: for an episode of a class outside the fold, or no class at all.
    """
    order = list(classes)
    if not order:
        raise UsageError("a fold needs at least one class")
    sums = sum_by_class(class_ids, counts, order).reshape(len(order), -1, 4)
    inter, union = sums[..., :2], sums[..., 2:]
    ious = inter[..., 1] / np.maximum(union[..., 1], 1) * 100
    if absent == "exclude":
        ious[union[..., 1] == 0] = np.nan
    pooled = inter.sum(axis=0) / np.maximum(union.sum(axis=0), 1) * 100
    figures = []
    for of_run, sides in zip(np.ascontiguousarray(ious.T), pooled, strict=True):
        scored = of_run[~np.isnan(of_run)]
        figures.append((float(scored.mean()) if len(scored) else float("nan"), float(sides.mean())))
    return figures
