"""The exchange test: how often two methods whose outcomes are exchanged at random differ as much.

If neither method is better, it does not matter which of the two gave which outcome of a query.  So the
outcomes are exchanged query by query, and the share of draws whose difference is as large as the one
measured is p.  This holds for any number of queries and however unlike they are.  A bootstrap, which
estimates a spread, errs where a few queries carry most of the difference: they are large, or they are
asked more often than others.

All couples share the sums that a draw needs: for each method and class the sum over queries of its intersections, and
of its unions, each query with the sign of the draw.  They are one matrix product per class, exact as all are whole.

Most draws are far from the difference that was measured.  So every draw is estimated from these sums, with a bound of
the error (`exchange_estimates`), and only those that are too close to decide are computed.  p is the same as if all
were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fssbench.analysis.exchange_draws import draw_exchanges, unpack_signs
from fssbench.analysis.exchange_estimates import ROUNDING, Estimates
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
        family = _Family([couples[place] for place in places], on_plans, draws, seed, ROUNDING * plans)
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
        estimates = self._make_estimates()
        counts = [part.counts.astype(self._kind) for part in self._classes]
        reached = np.zeros(len(self._a), dtype=np.int64)
        fitting = _TOGETHER // max(1, 2 * len(counts) * self._methods)
        step = min(max(fitting, _FEWEST), _MOST) // 8 * 8
        for some in map_in_threads(
            lambda start: self._count(slice(start, min(start + step, self._draws)), counts, estimates),
            range(0, self._draws, step),
        ):
            reached += some
        return reached

    def _make_estimates(self) -> Estimates | None:
        """Prepare the estimates of differences; there are none if a class is left out of the mean of some draws."""
        if any(part.excluding and not part.always_there for part in self._classes):
            return None
        points = np.array([part.scale for part in self._classes])
        spans = np.array([part.spans for part in self._classes]).reshape(-1, 2, self._methods)
        return Estimates.make(points, self._both, spans, self._a, self._b, self._kind)

    def _count(
        self, some: slice, counts: Sequence[NDArray[Any]], estimates: Estimates | None
    ) -> NDArray[np.int64]:
        """Count for each couple those of some draws that reach the difference measured."""
        draws = some.stop - some.start
        sums = np.empty((len(counts), 2, self._methods, draws), dtype=self._kind)
        part = slice(some.start // 8, -(-some.stop // 8))
        for place, (one, own) in enumerate(zip(self._classes, counts, strict=True)):
            signs = unpack_signs(one.exchanged[:, part], self._kind)[:, :draws]
            np.matmul(own, signs, out=sums[place].reshape(-1, draws))
        if estimates is None:
            couple, draw = (index.ravel() for index in np.indices((len(self._a), draws)))
            reached = np.zeros(len(self._a), dtype=np.int64)
        else:
            reached, couple, draw = estimates.decide(sums, self._limits)
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
        counts = np.ascontiguousarray(moved.reshape(len(sums), 2 * sums.shape[2]).T)
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
