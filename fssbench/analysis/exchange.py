"""The exchange test: how often two methods whose outcomes are exchanged at random differ as much.

If neither method is better, it does not matter which of the two gave which outcome of a query.  So the
outcomes are exchanged query by query, and the share of draws whose difference is as large as the one
measured is p.  This holds for any number of queries and however unlike they are.  A bootstrap, which
estimates a spread, errs where a few queries carry most of the difference: they are large, or they are
asked more often than others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fssbench.analysis.statistics import plan_generator, sum_by_cluster
from fssbench.contracts.results import RunResult
from fssbench.metrics import select_scored_classes

Folds = Sequence[tuple[RunResult, RunResult]]
"""The runs of A and B for each fold, on the same episodes."""
_BLOCK = 2_000_000
"""Draws held in memory at once: 16 MB of float64."""
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
    totals = np.zeros((len(couples), draws))
    measured = np.zeros(len(couples))
    for members in alike.values():
        _add_plan(members, totals, measured, draws, seed)
    reached = (np.abs(totals) >= np.abs(measured)[:, None] - _ROUNDING * len(alike)).sum(axis=1)
    return [float(p) for p in (reached + 1) / (draws + 1)]


def _add_plan(
    members: Sequence[tuple[int, RunResult, RunResult]],
    totals: NDArray[np.float64],
    measured: NDArray[np.float64],
    draws: int,
    seed: int,
) -> None:
    """Add each couple's difference on one plan, exchanged and as measured; folds add up to their sum."""
    first = members[0][1]
    runs = list({id(run): run for _, *both in members for run in both}.values())
    column = {id(run): n for n, run in enumerate(runs)}
    counts = np.hstack([np.stack([run.inter[:, 1], run.union[:, 1]], axis=1) for run in runs])
    queries = np.unique(np.asarray(first.queries), return_inverse=True)[1]
    rng = plan_generator(seed, f"exchange {first.plan_sha256}")
    excluding = first.absent_rule == "exclude"
    classes = select_scored_classes(first.classes, first.class_ids, whole=first.whole)
    sides = [[_Side.empty(draws + 1, excluding) for _ in "ab"] for _ in members]
    inter, union = np.empty(draws + 1), np.empty(draws + 1)
    for c in classes:
        mine = first.class_ids == c
        sums = sum_by_cluster(queries[mine], counts[mine])
        turned = _exchange_sums(sums, draws, rng)
        kept = sums.sum(axis=0)[:, None] - turned
        for (_, a, b), both in zip(members, sides, strict=True):
            for side, (own, other) in zip(both, ((a, b), (b, a)), strict=True):
                i, j = 2 * column[id(own)], 2 * column[id(other)]
                np.add(kept[i], turned[j], out=inter)
                np.add(kept[i + 1], turned[j + 1], out=union)
                side.add(inter, union)
    for (place, *_), both in zip(members, sides, strict=True):
        gaps = both[0].mean(len(classes)) - both[1].mean(len(classes))
        gaps = np.nan_to_num(gaps, nan=0.0)  # a draw without a figure shows no difference
        measured[place] += gaps[0]
        totals[place] += gaps[1:]


@dataclass(frozen=True)
class _Side:
    """One method's mIoU on every draw, class by class."""

    ious: NDArray[np.float64]
    """(draws + 1,) sum over the classes so far."""
    present: NDArray[np.float64] | None
    """(draws + 1,) classes with a pixel; None if classes without one count as 0 in the mean."""

    @classmethod
    def empty(cls, draws: int, excluding: bool) -> _Side:
        """Make the sum over no class; `excluding` says whether classes without a pixel are left out of the mean."""
        return cls(np.zeros(draws), np.zeros(draws) if excluding else None)

    def add(self, inter: NDArray[np.float64], union: NDArray[np.float64]) -> None:
        """Add a class from its sums; both arrays are overwritten."""
        if self.present is not None:
            np.add(self.present, union > 0, out=self.present)
        np.maximum(union, 1, out=union)
        np.divide(inter, union, out=inter)
        np.add(self.ious, inter, out=self.ious)

    def mean(self, classes: int) -> NDArray[np.float64]:
        """The mean over classes in percent; nan if there is none."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.ious / (classes if self.present is None else self.present) * 100)


def _exchange_sums(sums: NDArray[np.float64], draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Sum (k, draws + 1) over the queries that each draw exchanges; the first draw exchanges none."""
    n, width = sums.shape
    turned = np.zeros((width, draws + 1))
    columns = np.ascontiguousarray(sums.T)
    block = max(1, _BLOCK // max(n, 1))
    for start in range(1, draws + 1 if n else 1, block):
        rows = min(block, draws + 1 - start)
        drawn = rng.integers(0, 2, size=(n, rows), dtype=np.bool_)
        turned[:, start : start + rows] = columns @ drawn.astype(np.float64)
    return turned
