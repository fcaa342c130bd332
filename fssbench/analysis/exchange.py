"""The exchange test: how often two methods whose outcomes are exchanged at random differ as much.

If neither method is better, it does not matter which of the two gave which outcome of a query.  So the
outcomes are exchanged query by query, and the share of draws whose difference is as large as the one
measured is p.  This holds for any number of queries and however unlike they are.  A bootstrap, which
estimates a spread, errs where a few queries carry most of the difference: they are large, or they are
asked more often than others.

Most draws are far from the difference that was measured.  So every draw is estimated first, with a bound of its error,
and only those that are too close to decide are computed.  p is the same as if all were.

The estimate is linear.  Let I and U be half of the sums of both methods' intersections and unions of a class, and let
i and u be half of the sum over its queries of A minus B, each query with the sign of its draw.  Then A minus B of that
draw is (I + i) / (U + u) - (I - i) / (U - u) = 2 (i - u I / U) / U / (1 - (u / U)**2).  The last factor is close to 1,
and without it the difference is a sum over queries: all couples and draws are one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
_Rows = NDArray[np.int64]
_BLOCK = 2_000_000
"""Bits drawn at once, one byte each.  Another number would draw others."""
_TOGETHER = 1024
"""Draws of which all couples are computed at once, so that their sums stay in a processor's cache."""
_MOST_QUERIES = 256
"""Queries of the classes that are in one matrix product; a class that has more is in one of its own.  Sums of fewer
numbers have a smaller error, and the sums of many small products take longer."""
_ROUNDING = 1e-9
"""Differences that are closer than this, in points, count as equal."""
_UNIT = float(np.finfo(np.float32).eps) / 2 * 1.01
"""Error of one operation in single precision; a sum of n numbers has at most n of these."""
_OTHER_ROUNDINGS = 64
"""Roundings of an estimate besides those of the sums over queries and classes: weights, folds, bounds."""
_WIDEST = 0.9
"""Largest bound of the share u / U of an exchange for which an estimate is used."""


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
    measured = np.zeros(len(couples))
    rough, errors = (np.zeros((len(couples), draws), dtype=np.float32) for _ in range(2))
    for plan, estimate in zip(plans, map_in_threads(_PlanDraws.estimate, plans), strict=True):
        for number, (place, gap) in enumerate(zip(plan.places, plan.measure(), strict=True)):
            measured[place] += gap
            rough[place] += estimate.gaps[number]
            errors[place] += estimate.bound_error(number)
    limits = np.abs(measured) - _ROUNDING * len(plans)
    reached = np.zeros(len(couples), dtype=np.int64)
    doubtful = []
    for place, (limit, error, differences) in enumerate(zip(limits, errors, rough, strict=True)):
        excess = np.abs(differences) - limit
        is_near = np.abs(excess) <= error
        reached[place] = np.count_nonzero((excess > 0) & ~is_near)
        doubtful.append(np.flatnonzero(is_near))
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
                side.add(inter[own], union[own])
        return self._compute_gaps(sides)

    @cached_property
    def _has_estimate(self) -> bool:
        """Whether every class counts in the mean of every draw."""
        return bool(self._sums) and (all(self._always_there) or not self._excluding)

    def estimate(self) -> _Estimate:
        """Estimate the differences of every couple in every draw."""
        couples = len(self.places)
        gaps = np.zeros((couples, self._draws), dtype=np.float32)
        if not self._has_estimate:
            no_bound = np.full((self._runs, self._draws), math.inf, dtype=np.float32)
            return _Estimate(gaps, np.full(couples, math.inf), no_bound, no_bound, self._a, self._b, 1)
        cubes = np.zeros((2, self._runs, self._draws), dtype=np.float32)
        rounding = np.full(couples, _ROUNDING / 10)
        groups = self._group_classes()
        for classes in groups:
            lines = [_Lines.make(self._sums[k], self._a, self._b, len(self._sums)) for k in classes]
            weights = np.hstack([line.couples for line in lines])
            roundings = weights.shape[1] + len(groups) + _OTHER_ROUNDINGS
            rounding += roundings * _UNIT * np.abs(weights).sum(axis=1, dtype=np.float64)
            for start in range(0, self._draws, _TOGETHER):
                part = slice(start, min(start + _TOGETHER, self._draws))
                exchanged = np.concatenate([self._unpack(k, part) for k in classes], axis=1)
                signs = (1 - 2 * exchanged.view(np.int8)).astype(np.float32).T
                gaps[:, part] += weights @ signs
                ends = np.cumsum([len(self._sums[k]) for k in classes])
                for line, own in zip(lines, np.split(signs, ends[:-1]), strict=True):
                    inter, union = np.split(np.abs(line.runs @ own) + line.slack, 2)
                    inter += line.largest_iou * union
                    cubes[0, :, part] += inter * inter * inter
                    cubes[1, :, part] += union * union * union
        sizes, widths = np.cbrt(cubes)
        return _Estimate(gaps, rounding, sizes, widths, self._a, self._b, 200.2 / len(self._sums))

    def _group_classes(self) -> list[list[int]]:
        """Group the classes in order, so that those of a group have at most `_MOST_QUERIES`."""
        groups: list[list[int]] = []
        queries = 0
        for k, sums in enumerate(self._sums):
            queries += len(sums)
            if not groups or queries > _MOST_QUERIES:
                groups.append([])
                queries = len(sums)
            groups[-1].append(k)
        return groups

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
        order = np.argsort(draws[entries], kind="stable")
        entries, member = entries[order], member[order]
        a, b = self._a[member], self._b[member]
        wanted, column = np.unique(draws[entries], return_inverse=True)
        for start in range(0, len(wanted), _TOGETHER):
            part = slice(*np.searchsorted(column, [start, start + _TOGETHER]))
            at = column[part] - start
            sides = [_Side.empty(len(at), self._excluding) for _ in "ab"]
            for k, sums in enumerate(self._sums):
                exchanged = self._unpack(k, wanted[start : start + _TOGETHER]).T
                turned = sums.T @ exchanged.astype(np.float64)
                kept = sums.sum(axis=0)[:, None] - turned
                (kept_i, kept_u), (turned_i, turned_u) = np.split(kept, 2), np.split(turned, 2)
                for side, own, other in zip(sides, (a[part], b[part]), (b[part], a[part]), strict=True):
                    inter = kept_i[own, at] + turned_i[other, at]
                    side.add(inter, kept_u[own, at] + turned_u[other, at])
            np.add.at(totals, entries[part], self._compute_gaps(sides))

    def _compute_gaps(self, sides: Sequence[_Side]) -> NDArray[np.float64]:
        """Compute A minus B; a draw without a figure shows no difference."""
        a, b = (side.mean(len(self._sums)) for side in sides)
        return np.nan_to_num(a - b, nan=0.0)

    def _unpack(self, k: int, chosen: slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return (chosen draws, queries) of a class: 1 for a query that is exchanged, otherwise 0."""
        return np.unpackbits(self._exchanged[k][chosen], axis=1, count=len(self._sums[k]))

    @cached_property
    def _exchanged(self) -> list[NDArray[np.uint8]]:
        """(draws, queries / 8) bits of each class that say which queries a draw exchanges, always the same."""
        rng = plan_generator(self._seed, self._stream)
        return [_draw_exchanges(len(sums), self._draws, rng) for sums in self._sums]


@dataclass(frozen=True, eq=False)
class _Estimate:
    """Estimates of the differences of a plan's couples, and what bounds their errors.

    The difference of a class, without the last factor, is at most x = 200 |i - u I / U| / U / classes points, and the
    factor differs from 1 by w**2 / (1 - w**2), where w = |u| / U.  The sum of x w**2 over classes is at most |x| |w|**2
    with norms to the third power, by Hoelder's inequality.  Those of a couple are at most the sum of both runs' norms,
    each run being compared with the mean run.  So a bound takes a few operations per couple instead of per class.
    """

    gaps: NDArray[np.float32]
    """(couples, draws) estimated differences in points; 0 if there is no estimate."""
    rounding: NDArray[np.float64]
    """(couples) what single precision adds to the error, in points."""
    sizes: NDArray[np.float32]
    """(runs, draws) norm of x of each run, per (200 / classes) points."""
    widths: NDArray[np.float32]
    """(runs, draws) norm of w of each run."""
    a: NDArray[np.int64]
    """(couples) row of A."""
    b: NDArray[np.int64]
    scale: float
    """Points that a norm of 1 stands for: 200 / classes, with a little for the rounding of these bounds."""

    def bound_error(self, number: int) -> NDArray[np.float32]:
        """Bound the error of every draw of a couple in points; infinite if there is no estimate."""
        a, b = self.a[number], self.b[number]
        squares = (self.widths[a] + self.widths[b]) ** 2
        with np.errstate(all="ignore"):
            errors = (self.sizes[a] + self.sizes[b]) * squares / (1 - squares) * self.scale
        errors[~((squares < _WIDEST**2) & np.isfinite(errors))] = math.inf
        return errors + np.float32(self.rounding[number])


@dataclass(frozen=True, eq=False)
class _Lines:
    """What each query of a class adds to the estimates, and to what bounds their errors."""

    couples: NDArray[np.float32]
    """(couples, queries) of the difference in points."""
    runs: NDArray[np.float32]
    """(2 x runs, queries) half of each run's intersection, then of its union, less those of the mean run; all divided
    by the smallest U of a couple."""
    slack: NDArray[np.float32]
    """(2 x runs, 1) bound of the rounding of a sum over queries of `runs`, with any signs."""
    largest_iou: np.float32
    """Largest I / U of a couple."""

    @classmethod
    def make(cls, sums: NDArray[np.float64], a: _Rows, b: _Rows, classes: int) -> _Lines:
        """Make them from the (queries, 2 x runs) sums of a class, for couples of the rows a and b."""
        inter, union = np.split(sums.T, 2)
        halves = [(k.sum(axis=1)[a] + k.sum(axis=1)[b])[:, None] / 2 for k in (inter, union)]
        smallest = float(halves[1].min(initial=math.inf, where=halves[1] > 0))
        ious = halves[0] / np.maximum(halves[1], 0.5)  # without a pixel all counts are 0
        gaps = (inter[a] - inter[b] - ious * (union[a] - union[b])) / np.maximum(halves[1], 0.5)
        runs = np.vstack([k - k.mean(axis=0) for k in (inter, union)]) / (2 * smallest)
        return cls(
            couples=(gaps * (100 / classes)).astype(np.float32),
            runs=runs.astype(np.float32),
            slack=((len(sums) + _OTHER_ROUNDINGS) * _UNIT * np.abs(runs).sum(axis=1, keepdims=True)).astype(
                np.float32
            ),
            largest_iou=np.float32(ious.max(initial=0) + 1e-6),
        )


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

    def add(self, inter: NDArray[np.float64], union: NDArray[np.float64]) -> None:
        """Add a class from its (draws) sums; both arrays are overwritten."""
        if self.present is not None:
            np.add(self.present, union > 0, out=self.present)
        np.maximum(union, 1, out=union)
        np.divide(inter, union, out=inter)
        np.add(self.ious, inter, out=self.ious)

    def mean(self, classes: int) -> NDArray[np.float64]:
        """The mean over classes in percent; nan if there is none."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.ious / (classes if self.present is None else self.present) * 100)


def _draw_exchanges(queries: int, draws: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw which queries of a class each draw exchanges: (draws, queries / 8) bits."""
    block = max(1, _BLOCK // max(queries, 1))
    bits = np.empty((draws, -(-queries // 8)), dtype=np.uint8)
    for start in range(0, draws if queries else 0, block):
        stop = min(start + block, draws)
        drawn = rng.integers(0, 2, size=(queries, stop - start), dtype=np.bool_)
        bits[start:stop] = np.packbits(np.ascontiguousarray(drawn.T), axis=1)
    return bits
