"""The exchange test: how often two methods whose outcomes are exchanged at random differ as much.

If neither method is better, it does not matter which of the two gave which outcome of a query.  So the
outcomes are exchanged query by query, and the share of draws whose difference is as large as the one
measured is p.  This holds for any number of queries and however unlike they are.  A bootstrap, which
estimates a spread, errs where a few queries carry most of the difference: they are large, or they are
asked more often than others.

All couples share the sums that a draw needs: for each method and class the sum over queries of its intersections, and
of its unions, each query with the sign of the draw.  They are one matrix product per class, exact as all are whole.

Most draws are far from the difference that was measured.  So every draw is estimated from these sums, with a bound of
the error, and only those that are too close to decide are computed.  p is the same as if all were.

The estimate is linear.  Let I and U be half of the sums of both methods' intersections and unions of a class, and let
i and u be half of the sums of A minus those of B, with the signs of the draw.  Then A minus B of that
draw is (I + i) / (U + u) - (I - i) / (U - u) = 2 (i - u I / U) / U / (1 - (u / U)**2).  The last factor is close to 1,
and without it the difference is a weighted sum: all couples and draws are one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fssbench.analysis.exchange_draws import draw_exchanges, unpack_signs
from fssbench.analysis.parallel import map_in_threads
from fssbench.analysis.resampling import LARGEST_EXACT
from fssbench.analysis.statistics import plan_generator, sum_by_cluster
from fssbench.contracts.results import RunResult
from fssbench.metrics import select_scored_classes

Folds = Sequence[tuple[RunResult, RunResult]]
"""The runs of A and B for each fold, on the same episodes."""
_Rows = NDArray[np.int64]
_Floats = NDArray[np.float64]
_TOGETHER = 1 << 20
"""Sums that are computed at once, for a number of draws and all couples, so that they stay in a processor's cache."""
_FEWEST, _MOST = 256, 2048
"""Fewest and most draws that are computed at once; multiples of 8."""
_MOST_EXACT = 1 << 18
"""Numbers of one kind that are in memory while draws are computed exactly."""
_ROUNDING = 1e-9
"""Differences that are closer than this, in points, count as equal."""
_OTHER_ROUNDINGS = 64
"""Roundings of an estimate besides those of its sum: weights, bounds."""
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
    keys: dict[int, Any] = {}
    families: dict[tuple[Any, ...], list[int]] = {}
    for place, folds in enumerate(couples):
        for a, _ in folds:
            if id(a) not in keys:
                episodes = (a.class_ids.tobytes(), a.queries)
                keys[id(a)] = (a.plan_sha256, a.absent_rule, a.classes, a.whole, *episodes)
        families.setdefault(tuple(keys[id(a)] for a, _ in folds), []).append(place)
    plans = len({key for on_plans in families for key in on_plans})
    reached = np.zeros(len(couples), dtype=np.int64)
    for on_plans, places in families.items():
        family = _Family([couples[place] for place in places], on_plans, draws, seed, _ROUNDING * plans)
        reached[places] = family.count_reached()
    return [float(p) for p in (reached + 1) / (draws + 1)]


class _Family:
    """Couples whose folds are on the same plans, and every draw of their exchanges.

    Args:
        couples: what is compared.
        plans: what distinguishes the plan of each fold from others; folds of one plan share its draws.
        draws: number of draws.
        seed: seed of the draws.
        tolerance: points by which a draw may fall short of the measured difference and still reach it.
    """

    def __init__(
        self, couples: Sequence[Folds], plans: Sequence[object], draws: int, seed: int, tolerance: float
    ) -> None:
        sides = [[tuple(pair[side] for pair in folds) for folds in couples] for side in (0, 1)]
        methods = {tuple(map(id, method)): method for method in (*sides[0], *sides[1])}
        row = {key: n for n, key in enumerate(methods)}
        self._a, self._b = (np.array([row[tuple(map(id, m))] for m in side]) for side in sides)
        self._methods = len(methods)
        self._draws = draws
        shared: dict[object, list[NDArray[np.uint8]]] = {}
        self._classes: list[_Class] = []
        self._folds: list[slice] = []
        for plan, runs in zip(plans, zip(*methods.values(), strict=True), strict=True):
            parts = _sum_queries(runs)
            if parts and plan not in shared:
                rng = plan_generator(seed, f"exchange {runs[0].plan_sha256}")
                shared[plan] = [draw_exchanges(len(part), draws, rng) for part in parts]
            if parts:
                self._folds.append(slice(len(self._classes), len(self._classes) + len(parts)))
                excluding = runs[0].absent_rule == "exclude"
                self._classes += [
                    _Class.make(part, bits, len(parts), excluding)
                    for part, bits in zip(parts, shared[plan], strict=True)
                ]
        exact = all(part.largest < LARGEST_EXACT for part in self._classes)
        self._kind: Any = np.float32 if exact else np.float64
        self._totals = np.array([part.totals for part in self._classes]).reshape(-1, 2, self._methods)
        of_a, of_b = (self._totals[:, :, rows] for rows in (self._a, self._b))
        self._both = of_a + of_b
        self._limits = np.abs(self._compute_gaps(np.arange(len(couples)), of_a - of_b)) - tolerance

    def count_reached(self) -> NDArray[np.int64]:
        """Count for each couple the draws whose difference is as large as the one measured."""
        line = (
            _Line.make(self._classes, self._totals, self._a, self._b, self._kind) if self._is_linear else None
        )
        counts = [part.counts.astype(self._kind) for part in self._classes]
        reached = np.zeros(len(self._a), dtype=np.int64)
        fitting = _TOGETHER // max(1, 2 * len(counts) * self._methods)
        step = min(max(fitting, _FEWEST), _MOST) // 8 * 8
        for some in map_in_threads(
            lambda start: self._count(slice(start, min(start + step, self._draws)), counts, line),
            range(0, self._draws, step),
        ):
            reached += some
        return reached

    @property
    def _is_linear(self) -> bool:
        """Whether every class counts in the mean of every draw, so that differences can be estimated."""
        return all(part.always_there or not part.excluding for part in self._classes)

    def _count(self, some: slice, counts: Sequence[NDArray[Any]], line: _Line | None) -> NDArray[np.int64]:
        """Count for each couple those of some draws that reach the difference measured."""
        draws = some.stop - some.start
        sums = np.empty((len(counts), 2, self._methods, draws), dtype=self._kind)
        part = slice(some.start // 8, -(-some.stop // 8))
        for place, (one, own) in enumerate(zip(self._classes, counts, strict=True)):
            signs = unpack_signs(one.exchanged[:, part], self._kind)[:, :draws]
            np.matmul(own, signs, out=sums[place].reshape(-1, draws))
        if line is None:
            couple, draw = (index.ravel() for index in np.indices((len(self._a), draws)))
            reached = np.zeros(len(self._a), dtype=np.int64)
        else:
            reached, couple, draw = line.decide(sums, self._limits)
        most = max(1, _MOST_EXACT // max(1, len(counts)))
        for first in range(0, len(couple), most):
            own, at = couple[first : first + most], draw[first : first + most]
            gaps = self._compute_gaps(own, _subtract(sums, self._a[own], self._b[own], at))
            reached += np.bincount(own[np.abs(gaps) >= self._limits[own]], minlength=len(reached))
        return reached

    def _compute_gaps(self, couples: _Rows, kept: _Floats) -> _Floats:
        """Compute A minus B in points; a draw without a figure shows no difference.

        Args:
            couples: (n) couple of each difference.
            kept: (classes, 2, n) sum of A minus that of B, with the signs of the draw.
        """
        both = self._both[:, :, couples]
        gaps = np.zeros(len(couples))
        for fold in self._folds:
            means = []
            for twice in (both[fold] + kept[fold], both[fold] - kept[fold]):
                inter, union = twice[:, 0], twice[:, 1]  # twice the sums of one method
                ious = (inter / np.maximum(union, 2)).sum(axis=0)
                number = (union > 0).sum(axis=0) if self._classes[fold.start].excluding else len(union)
                with np.errstate(invalid="ignore"):
                    means.append(ious / number * 100)
            gaps += np.nan_to_num(means[0] - means[1], nan=0.0)
        return gaps


def _sum_queries(runs: Sequence[RunResult]) -> list[_Floats]:
    """Sum the foreground counts of runs on one plan: for each class (queries, 2, runs) intersections and unions."""
    first = runs[0]
    counts = np.hstack([run.inter[:, 1:] for run in runs] + [run.union[:, 1:] for run in runs])
    queries = np.unique(np.asarray(first.queries), return_inverse=True)[1]
    rows = [
        first.class_ids == c for c in select_scored_classes(first.classes, first.class_ids, whole=first.whole)
    ]
    return [sum_by_cluster(queries[chosen], counts[chosen]).reshape(-1, 2, len(runs)) for chosen in rows]


def _subtract(sums: NDArray[Any], a: _Rows, b: _Rows, draw: _Rows) -> _Floats:
    """Subtract the (classes, 2, n) sums of B from those of A, in the draw of each of n differences."""
    flat = sums.reshape(*sums.shape[:2], sums.shape[2] * sums.shape[3])
    one, other = (np.take(flat, row * sums.shape[3] + draw, axis=2).astype(np.float64) for row in (a, b))
    return np.subtract(one, other, out=one)


@dataclass(frozen=True, eq=False)
class _Class:
    """The counts of all methods in one class of one fold, by query."""

    counts: _Floats
    """(2 x methods, queries) intersections, then unions, less those of the mean method: differences stay the same,
    and the sums are smaller."""
    totals: _Floats
    """(2, methods) sums over the queries."""
    exchanged: NDArray[np.uint8]
    """(queries, draws / 8) bits, see `draw_exchanges`."""
    scale: float
    """Points of an IoU of 1 in the mean over the classes of the fold."""
    excluding: bool
    """Whether the class is left out of the mean of a draw that has no pixel of it."""
    always_there: bool
    """Whether each draw is sure to have a pixel of the class: one of its queries has one in every run."""

    @classmethod
    def make(cls, sums: _Floats, exchanged: NDArray[np.uint8], classes: int, excluding: bool) -> _Class:
        """Make it from the (queries, 2, methods) sums by query of one class of so many."""
        moved = sums - np.rint(sums.mean(axis=2, keepdims=True))
        counts = np.ascontiguousarray(moved.reshape(len(sums), -1).T)
        there = bool((sums[:, 1] > 0).all(axis=1).any())
        return cls(counts, sums.sum(axis=0), exchanged, 100 / classes, excluding, there)

    @cached_property
    def spans(self) -> _Floats:
        """(2, methods) largest absolute value that a sum over the queries can have, with any signs."""
        return np.asarray(np.abs(self.counts).sum(axis=1).reshape(2, -1))

    @property
    def largest(self) -> float:
        """Largest absolute value of any sum."""
        return float(self.spans.max(initial=0))


@dataclass(frozen=True, eq=False)
class _Line:
    """The linear estimate of every couple's difference, and what bounds its error.

    The difference of a class, without the last factor, is x points, and the factor differs from 1 by w**2 / (1 - w**2),
    where w = |u| / U.  The sum of |x| w**2 over classes is at most |x| |w|**2, where |x| is the square norm and |w| the
    norm to the fourth power, by Cauchy's inequality.  Those of a couple are at most the sum of both methods' norms, as
    each method is compared with the mean method.  So a bound takes a few operations per couple instead of per class.
    """

    a: _Rows
    b: _Rows
    weights: NDArray[Any]
    """(methods, places, 2 x classes) what a sum of a method adds to the estimates of its couples in points, or takes
    away if it is B: those of the intersections and of the unions of the first class, then of the next.  Each couple of
    a method has a place; places that are left are 0."""
    places: tuple[_Rows, _Rows]
    """(couples) place of each couple among those of A, and among those of B, counted through all methods."""
    rounding: _Floats
    """(couples) what the rounding of the estimate adds to its error, in points."""
    scales: NDArray[Any]
    """(classes, 3) by which a method's |sum of unions| gives its w, its |sum of intersections| its x, and w its x."""

    @classmethod
    def make(cls, classes: Sequence[_Class], totals: _Floats, a: _Rows, b: _Rows, kind: Any) -> _Line:
        """Make it for couples of the methods a and b, in a number type."""
        halves = (totals[:, :, a] + totals[:, :, b]) / 2
        unions = np.maximum(halves[:, 1], 0.5)  # without a pixel all counts are 0
        ious = halves[:, 0] / unions
        points = np.array([one.scale for one in classes])[:, None]
        weights = np.stack([points / unions, -ious * points / unions], axis=1).reshape(-1, len(a)).T
        spans = np.array([one.spans for one in classes]).reshape(-1, totals.shape[2])
        reach = (np.abs(weights) * (spans[:, a] + spans[:, b]).T).sum(axis=1)
        unit = float(np.finfo(kind).eps) / 2 * 1.01
        smallest = np.min(halves[:, 1], axis=1, initial=math.inf, where=halves[:, 1] > 0)
        highest = ious.max(axis=1, initial=0) + 1e-6
        scales = np.stack([0.5 / smallest, points[:, 0] / smallest, 2 * highest * points[:, 0]], axis=1)
        held, places = _place_couples(a, b)
        by_place = np.zeros((totals.shape[2] * held, weights.shape[1]), dtype=kind)
        for place in places:
            by_place[place] = weights
        return cls(
            a,
            b,
            by_place.reshape(totals.shape[2], held, weights.shape[1]),
            places,
            (weights.shape[1] + _OTHER_ROUNDINGS) * unit * reach + _ROUNDING / 10,
            scales.astype(kind),
        )

    def decide(self, sums: NDArray[Any], limits: _Floats) -> tuple[NDArray[np.int64], _Rows, _Rows]:
        """Count the draws that surely reach a limit, and list those that are too close to decide.

        Args:
            sums: (classes, 2, methods, draws) sums with the signs of some draws.
            limits: (couples) absolute differences to reach, in points.

        Returns:
            The (couples) counts, and couple and draw of each undecided one.
        """
        norms = self._compute_norms(sums)
        size, width = (norm.max(axis=1).astype(np.float64) for norm in norms)
        rounding = self.rounding + np.abs(limits) * np.finfo(np.float32).eps
        errors = _bound_errors(size[self.a] + size[self.b], width[self.a] + width[self.b], rounding)
        gaps = self._estimate(sums)
        above = gaps > (limits + errors)[:, None].astype(sums.dtype)
        reached = np.count_nonzero(above, axis=1)
        unsure = gaps >= (limits - errors)[:, None].astype(sums.dtype)
        unsure ^= above
        couple, draw = np.divmod(np.flatnonzero(unsure), gaps.shape[1])
        # the bound of the draw itself is narrower than that of all draws
        size, width = (
            norm[self.a[couple], draw].astype(np.float64) + norm[self.b[couple], draw] for norm in norms
        )
        narrow = _bound_errors(size, width, rounding[couple])
        near = gaps[couple, draw] - limits[couple]
        reached += np.bincount(couple[near > narrow], minlength=len(limits))
        open_still = np.abs(near) <= narrow
        return reached, couple[open_still], draw[open_still]

    def _estimate(self, sums: NDArray[Any]) -> NDArray[Any]:
        """Estimate the (couples, draws) absolute differences in points."""
        by_method = sums.reshape(2 * len(sums), *sums.shape[2:]).transpose(1, 0, 2)
        parts = (self.weights @ by_method).reshape(-1, sums.shape[3])
        of_a, of_b = (parts.take(place, axis=0) for place in self.places)
        of_a -= of_b
        return np.abs(of_a, out=of_a)

    def _compute_norms(self, sums: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Bound the norms of x, and compute those of w, over the classes: (methods, draws) each."""
        inter, union = sums.reshape(len(sums), 2, math.prod(sums.shape[2:])).transpose(1, 0, 2)
        to_width, to_size, width_to_size = self.scales.T
        powers = union * to_width[:, None]
        powers *= powers
        size = np.sqrt(width_to_size**2 @ powers)
        size += np.sqrt(to_size**2 @ np.square(inter))
        powers *= powers
        width = np.sqrt(np.sqrt(powers.sum(axis=0)))
        return size.reshape(sums.shape[2:]), width.reshape(sums.shape[2:])


def _place_couples(a: _Rows, b: _Rows) -> tuple[int, tuple[_Rows, _Rows]]:
    """Give each couple of the methods a and b a place among the couples of either.

    Returns:
        Most couples of a method, and the places of each couple, counted through all methods.
    """
    methods = np.concatenate([a, b])
    order = np.argsort(methods, kind="stable")
    ordered = methods[order]
    place = np.empty(len(methods), dtype=np.int64)
    place[order] = np.arange(len(methods)) - np.searchsorted(ordered, ordered)
    held = int(place.max(initial=-1)) + 1
    place += methods * held
    return held, (place[: len(a)], place[len(a) :])


def _bound_errors(sizes: _Floats, widths: _Floats, rounding: _Floats) -> _Floats:
    """Bound the error of estimates, in points, from the norms of x and of w; infinite if there is no bound."""
    squares = widths**2
    with np.errstate(all="ignore"):
        errors = sizes * squares / (1 - squares) * 1.001
    errors[~((squares < _WIDEST**2) & np.isfinite(errors))] = math.inf
    return np.asarray(errors + rounding)
