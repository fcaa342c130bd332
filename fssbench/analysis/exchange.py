"""The exchange test: how often two methods whose outcomes are exchanged at random differ as much.

If neither method is better, it does not matter which of the two gave which outcome of a query.  So the
outcomes are exchanged query by query, and the share of draws whose difference is as large as the one
measured is p.  This holds for any number of queries and however unlike they are.  A bootstrap, which
estimates a spread, errs where a few queries carry most of the difference: they are large, or they are
asked more often than others.

Most draws are far from the difference that was measured.  So every draw is computed in single precision first, with a
bound of its error, and only those that are too close to decide are computed again in double precision.  p is the
same as if all were.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fssbench.analysis.parallel import map_in_threads
from fssbench.analysis.statistics import plan_generator, sum_by_cluster
from fssbench.contracts.results import RunResult
from fssbench.metrics import select_scored_classes

Folds = Sequence[tuple[RunResult, RunResult]]
"""The runs of A and B for each fold, on the same episodes."""
_Rows = NDArray[np.int64] | slice
_BLOCK = 2_000_000
"""Draws held in memory at once: 16 MB of float64."""
_TOGETHER = 512
"""Draws of which all couples are computed at once, so that their sums stay in a processor's cache."""
_MOST_ENTRIES = 200_000
"""Draws computed again at once, over all couples."""
_ROUNDING = 1e-9
"""Differences that are closer than this, in points, count as equal."""


def exchange_p(couples: Sequence[Folds], *, draws: int, seed: int) -> list[float]:
    """Test for each couple whether its difference of mIoU, a mean over folds, could be chance.

    Draws depend on the seed, the plan and the class alone, so folds that are tested on the same plan
    exchange a query together, and so do all couples.

    Args:
        couples: what is compared; each with one pair of runs per fold, on the same episodes.
        draws: number of random exchanges.
        seed: seed of the draws.

    Returns:
        Two-sided p of each couple, at least 1 / (draws + 1): the outcome as measured is one of them.
    """
    alike: dict[Any, list[tuple[int, RunResult, RunResult]]] = {}
    for place, folds in enumerate(couples):
        for a, b in folds:
            episodes = (a.class_ids.tobytes(), a.queries)
            key = (a.plan_sha256, a.absent_rule, a.classes, a.whole, *episodes)
            alike.setdefault(key, []).append((place, a, b))
    plans = [_PlanDraws(members, draws, seed) for members in alike.values()]
    measured, errors = np.zeros(len(couples)), np.zeros(len(couples))
    rough = np.zeros((len(couples), draws), dtype=np.float32)
    for plan, estimates in zip(plans, map_in_threads(_PlanDraws.estimate, plans), strict=True):
        for place, gap, differences in zip(plan.places, plan.measure(), estimates, strict=True):
            measured[place] += gap
            errors[place] += plan.bound_error(len(plans))
            rough[place] += differences
    limits = np.abs(measured) - _ROUNDING * len(plans)
    reached = np.zeros(len(couples), dtype=np.int64)
    doubtful = []
    for place, (limit, error, differences) in enumerate(zip(limits, errors, rough, strict=True)):
        size = np.abs(differences, out=differences)
        near = np.flatnonzero(size >= limit - error)
        near = near[size[near] < limit + error]
        reached[place] = np.count_nonzero(size >= limit + error)
        doubtful.append(near)
    places = np.repeat(np.arange(len(couples)), [len(near) for near in doubtful])
    exact = np.zeros(len(places))
    if len(places):
        for plan in plans:
            plan.add_exact(places, np.concatenate(doubtful), exact)
    reached += np.bincount(places[np.abs(exact) >= limits[places]], minlength=len(couples))
    return [float(p) for p in (reached + 1) / (draws + 1)]


class _PlanDraws:
    """The couples of one plan, and every draw of their exchanges, made as often as it is asked for.

    Args:
        members: place of each couple among all, and its runs A and B; a couple comes once per fold.
        draws: number of draws.
        seed: seed of the draws.
    """

    def __init__(self, members: Sequence[tuple[int, RunResult, RunResult]], draws: int, seed: int) -> None:
        runs = list({id(run): run for _, *both in members for run in both}.values())
        row = {id(run): n for n, run in enumerate(runs)}
        self.places = [place for place, *_ in members]
        self._a = np.array([row[id(a)] for _, a, _ in members])
        self._b = np.array([row[id(b)] for _, _, b in members])
        self._runs = len(runs)
        self._draws, self._seed = draws, seed
        first = runs[0]
        self._stream = f"exchange {first.plan_sha256}"
        self._excluding = first.absent_rule == "exclude"
        classes = select_scored_classes(first.classes, first.class_ids, whole=first.whole)
        counts = np.hstack([run.inter[:, 1:] for run in runs] + [run.union[:, 1:] for run in runs])
        queries = np.unique(np.asarray(first.queries), return_inverse=True)[1]
        self._sums = [sum_by_cluster(queries[m], counts[m]) for m in (first.class_ids == c for c in classes)]

        # with a query that has a pixel in every run, a class has one in every draw
        self._always_there = [bool((s[:, len(runs) :] > 0).all(axis=1).any()) for s in self._sums]

    def measure(self) -> NDArray[np.float64]:
        """Compute the (couples) differences as measured, without any exchange, in points."""
        sides = [_Side.empty(len(self.places), self._excluding) for _ in "ab"]
        for sums in self._sums:
            inter, union = np.split(sums.sum(axis=0), 2)
            for side, own in zip(sides, (self._a, self._b), strict=True):
                side.add(slice(None), inter[own], union[own])
        return self._compute_gaps(sides)

    def bound_error(self, plans: int) -> float:
        """Bound the error of `estimate` in points, if that many plans are added up; infinite if there is no estimate.

        A ratio of two sums has at most 5 roundings, and a mean over classes one more per class.
        """
        if not self._has_estimate:
            return math.inf
        return 200 * float(np.finfo(np.float32).eps) * (16 + len(self._sums) + plans)

    @cached_property
    def _has_estimate(self) -> bool:
        """Whether every class counts in the mean of every draw."""
        return bool(self._sums) and (all(self._always_there) or not self._excluding)

    def estimate(self) -> NDArray[np.float32]:
        """Compute the (couples, draws) differences in single precision, in points; 0 if there is no estimate."""
        gaps = np.zeros((len(self.places), self._draws), dtype=np.float32)
        if not self._has_estimate:
            return gaps
        groups = self._group_by_first()
        widest = max(len(self._b[rows]) for _, rows, _ in groups)
        buffers = [np.empty((widest, _TOGETHER), dtype=np.float32) for _ in range(3)]
        for (kept, turned), always_there in zip(self._exchange(), self._always_there, strict=True):
            for start in range(0, self._draws, _TOGETHER):
                part = slice(start, min(start + _TOGETHER, self._draws))
                own_i, own_u = np.split(kept[:, part].astype(np.float32), 2)
                other_i, other_u = np.split(turned[:, part].astype(np.float32), 2)
                for a, rows, b in groups:
                    shape = gaps[rows, part].shape
                    iou_a, iou_b, union = (buffer[: shape[0], : shape[1]] for buffer in buffers)
                    np.add(own_u[a], other_u[b], out=union)
                    if not always_there:
                        np.maximum(union, 1, out=union)
                    np.add(own_i[a], other_i[b], out=iou_a)
                    np.divide(iou_a, union, out=iou_a)
                    np.add(own_u[b], other_u[a], out=union)
                    if not always_there:
                        np.maximum(union, 1, out=union)
                    np.add(own_i[b], other_i[a], out=iou_b)
                    np.divide(iou_b, union, out=iou_b)
                    np.subtract(iou_a, iou_b, out=iou_a)
                    gaps[rows, part] += iou_a
        gaps *= np.float32(100 / len(self._sums))
        return gaps

    def _group_by_first(self) -> list[tuple[int, _Rows, _Rows]]:
        """Group the couples by A: its row, the places of the couples, and the rows of B."""
        groups = [(int(a), np.flatnonzero(self._a == a)) for a in np.unique(self._a)]
        return [(a, _as_slice(rows), _as_slice(self._b[rows])) for a, rows in groups]

    def add_exact(
        self, places: NDArray[np.int64], draws: NDArray[np.int64], totals: NDArray[np.float64]
    ) -> None:
        """Add the differences on this plan for some draws of some couples, in points.

        Args:
            places: (n) couple of each, in ascending order.
            draws: (n) draw of each.
            totals: (n) sums to add to.
        """
        ends = np.searchsorted(places, np.add.outer([0, 1], self.places))
        entries = np.concatenate([np.arange(*both) for both in ends.T])
        if not len(entries):
            return
        member = np.repeat(np.arange(len(self.places)), ends[1] - ends[0])
        a, b = self._a[member], self._b[member]
        wanted, column = np.unique(draws[entries], return_inverse=True)
        sides = [_Side.empty(len(entries), self._excluding) for _ in "ab"]
        for kept, turned in self._exchange(wanted):
            (kept_i, kept_u), (turned_i, turned_u) = np.split(kept, 2), np.split(turned, 2)
            for start in range(0, len(entries), _MOST_ENTRIES):
                part = slice(start, start + _MOST_ENTRIES)
                at = column[part]
                for side, own, other in zip(sides, (a[part], b[part]), (b[part], a[part]), strict=True):
                    inter = kept_i[own, at] + turned_i[other, at]
                    side.add(part, inter, kept_u[own, at] + turned_u[other, at])
        np.add.at(totals, entries, self._compute_gaps(sides))

    def _compute_gaps(self, sides: Sequence[_Side]) -> NDArray[np.float64]:
        """Compute A minus B; a draw without a figure shows no difference."""
        a, b = (side.mean(len(self._sums)) for side in sides)
        return np.nan_to_num(a - b, nan=0.0)

    def _exchange(
        self, wanted: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Draw class by class, always the same draws.

        Args:
            wanted: the draws that are computed, in ascending order; all by default.

        Yields:
            The sums (2 x runs, draws) over the queries that a draw leaves, and over those that it exchanges:
            intersections, then unions.
        """
        rng = plan_generator(self._seed, self._stream)
        for sums in self._sums:
            turned = _exchange_sums(sums, self._draws, rng, wanted)
            yield sums.sum(axis=0)[:, None] - turned, turned


def _as_slice(rows: NDArray[np.int64]) -> _Rows:
    """Return rows as a slice, which needs no copy, if they follow each other."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if np.array_equal(rows, np.arange(first, last + 1)) else rows


@dataclass(frozen=True)
class _Side:
    """One method's mIoU on some draws, class by class."""

    ious: NDArray[np.float64]
    """(draws) sum over the classes so far."""
    present: NDArray[np.float64] | None
    """(draws) classes with a pixel; None if classes without one count as 0 in the mean."""

    @classmethod
    def empty(cls, draws: int, excluding: bool) -> _Side:
        """Make the sum over no class; `excluding` says whether classes without a pixel are left out of the mean."""
        return cls(np.zeros(draws), np.zeros(draws) if excluding else None)

    def add(self, part: slice, inter: NDArray[np.float64], union: NDArray[np.float64]) -> None:
        """Add a class to some of the draws from its sums there; both arrays are overwritten."""
        if self.present is not None:
            self.present[part] += union > 0
        np.maximum(union, 1, out=union)
        np.divide(inter, union, out=inter)
        self.ious[part] += inter

    def mean(self, classes: int) -> NDArray[np.float64]:
        """The mean over classes in percent; nan if there is none."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.ious / (classes if self.present is None else self.present) * 100)


def _exchange_sums(
    sums: NDArray[np.float64], draws: int, rng: np.random.Generator, wanted: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """Sum (k, draws) over the queries that each draw exchanges; only the wanted draws are summed."""
    n, width = sums.shape
    turned = np.zeros((width, draws if wanted is None else len(wanted)))
    columns = np.ascontiguousarray(sums.T)
    block = max(1, _BLOCK // max(n, 1))
    for start in range(0, draws if n else 0, block):
        stop = min(start + block, draws)
        drawn = rng.integers(0, 2, size=(n, stop - start), dtype=np.bool_)
        places = slice(start, stop)
        if wanted is not None:
            places = slice(*np.searchsorted(wanted, [start, stop]))
            drawn = drawn[:, wanted[places] - start]
        turned[:, places] = columns @ drawn.astype(np.float64)
    return turned
