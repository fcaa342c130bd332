"""How much a figure moves with the choice of supports, from runs with several sets per query (`--supports N`).

The model.  mIoU is nearly a sum over its episodes: around the measured sums of a class c with intersection I and union
U, an episode (i, u) moves mIoU by

    z = 100 (i - IoU_c u) / (U_c C F),     IoU_c = I_c / U_c,

for C classes and F folds (folds on one plan share their episodes, so their z add up).  Within a class, query q has m_q
episodes, each with a support set of its own, so the design is nested and may be unbalanced:

    z_qj = mean + a_q + b_qj,     Var(a) = s_Q^2 (query),     Var(b) = s_S^2 (support set of this query).

With T episodes, k queries, SSW = sum (z_qj - mean_q)^2 and SSB = sum m_q (mean_q - mean)^2, the analysis of variance
gives

    MSW = SSW / (T - k),           E MSW = s_S^2
    MSB = SSB / (k - 1),           E MSB = s_S^2 + n0 s_Q^2,     n0 = (T - sum m_q^2 / T) / (k - 1)

so s_S^2 = MSW and s_Q^2 = (MSB - MSW) / n0.  mIoU is the sum of all z, so its variance is

    from the choice of queries:    V_Q = sum over classes of s_Q^2 sum m_q^2
    from the choice of supports:   V_S = sum over classes of s_S^2 T.

A run with one support set for each of its T / r episodes, as papers have, has the same V_Q: each z is r times as large,
and each query has m_q / r of them.  Its V_S is r times as large.  With the queries held fixed, two such runs differ by
the choice of supports alone, and a single one is off from the mean over all choices by up to 1.96 sqrt(r V_S) in 95 of
100 draws.

The interval of this half-width comes from a bootstrap over queries within their class.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from fssbench.analysis.statistics import LEVEL, plan_generator
from fssbench.contracts.results import Cell, Estimate, Results, RunResult
from fssbench.evidence import collect_evidence, distinct_episodes
from fssbench.metrics import select_scored_classes, sum_by_class

_Z = NormalDist().inv_cdf((1 + LEVEL) / 2)


@dataclass(frozen=True)
class Components:
    """Variance components of values in groups, by the analysis of variance of a nested design."""

    between: float
    """Variance between groups, not below 0; nan if there is one group or `within` is nan."""
    within: float
    """Variance within groups; nan if no group has two values."""
    mean_square_between: float
    mean_square_within: float


def decompose_variance(values: NDArray[np.float64], groups: NDArray[np.int64]) -> Components:
    """Estimate the variance between and within groups, which may differ in size.

    Args:
        values: (T,) the values.
        groups: (T,) number of the group of each value.

    Returns:
        The components.

    Example:
        >>> import numpy as np
        >>> decompose_variance(np.array([1.0, 3.0, 7.0, 9.0]), np.array([0, 0, 1, 1])).within
        2.0
    """
    sizes, squares, total = _sum_groups(values, groups)
    k, count = len(sizes), len(values)
    within = float(squares.sum()) / (count - k) if count > k else math.nan
    if k < 2:
        return Components(math.nan, within, math.nan, within)
    between = float((sizes * (total / sizes - values.mean()) ** 2).sum()) / (k - 1)
    n0 = (count - (sizes**2).sum() / count) / (k - 1)
    excess = (between - within) / n0
    return Components(excess if math.isnan(excess) else max(0.0, excess), within, between, within)


def _sum_groups(
    values: NDArray[np.float64], groups: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return size, sum of squares about the mean, and sum of each group."""
    _, rows = np.unique(groups, return_inverse=True)
    sizes = np.bincount(rows).astype(np.float64)
    total = np.bincount(rows, weights=values).astype(np.float64)
    squares = np.bincount(rows, weights=(values - (total / sizes)[rows]) ** 2).astype(np.float64)
    return sizes, squares, total


@dataclass(frozen=True)
class SupportChoice:
    """How much mIoU of a cell moves with the choice of queries and of supports."""

    cell: Cell
    sets: int
    """Support sets per query that were planned."""
    queries: int
    """Distinct queries, an image of two classes counted twice."""
    episodes: int
    query_error: float
    """Standard deviation of mIoU that the choice of queries causes, in points."""
    support_error: float
    """Standard deviation of mIoU that the choice of supports causes if each query gets one support set, in points."""
    half_width: Estimate
    """How much a single draw can be off: half the 95 % interval that the choice of supports alone causes, in points."""

    @property
    def support_share(self) -> float:
        """Share of the variance of a single draw that the choice of supports causes, in percent; nan if unknown."""
        query, support = self.query_error**2, self.support_error**2
        return 100 * support / (query + support) if query + support > 0 else math.nan


@dataclass(frozen=True)
class _Stratum:
    """The episodes of one class of one plan."""

    values: NDArray[np.float64]
    """(T,) what each episode contributes to mIoU, in points."""
    queries: NDArray[np.int64]
    """(T,) number of the query of each episode."""
    sets: float
    """Episodes per episode of a run with one support set per query."""


def compute_support_choices(results: Results) -> tuple[SupportChoice, ...]:
    """Compute the support choice of each cell with several support sets per query, in the order of the cells."""
    cells = [c for c in results.cells if any(run.support_sets > 1 for run in c.folds.values())]
    return tuple(_compute(cell, results.resamples, results.bootstrap_seed) for cell in cells)


def _compute(cell: Cell, resamples: int, seed: int) -> SupportChoice:
    runs = [run for _, run in sorted(cell.folds.items())]
    strata = _collect_strata(runs)
    query = support = 0.0
    for stratum in strata:
        parts = decompose_variance(stratum.values, stratum.queries)
        sizes = _sum_groups(stratum.values, stratum.queries)[0]
        query += parts.between * float((sizes**2).sum())
        support += parts.within * len(stratum.values) * stratum.sets
    evidence = collect_evidence(runs)
    half_width = _Z * math.sqrt(support) if support >= 0 else math.nan
    draws = (
        np.array([]) if evidence.shortage or math.isnan(support) else _resample(strata, resamples, seed, runs)
    )
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(draws) else (math.nan, math.nan)
    return SupportChoice(
        cell=cell,
        sets=max(run.support_sets for run in runs),
        queries=evidence.queries,
        episodes=distinct_episodes(runs),
        query_error=math.sqrt(query) if query >= 0 else math.nan,
        support_error=math.sqrt(support) if support >= 0 else math.nan,
        half_width=Estimate(half_width, float(low), float(high), evidence.shortage),
    )


def compute_contributions(run: RunResult) -> NDArray[np.float64]:
    """Return what each episode contributes to mIoU of its run, to first order around the measured sums: (N,) points.

    The contributions of the episodes of a class add up to 0.
    """
    classes = list(select_scored_classes(run.classes, run.class_ids, whole=run.whole))
    inter, union = (sum_by_class(run.class_ids, counts, classes)[:, 1] for counts in (run.inter, run.union))
    number = int((union > 0).sum()) if run.absent_rule == "exclude" else len(classes)
    rows = np.array([classes.index(c) for c in run.class_ids.tolist()], dtype=np.int64)
    safe = np.maximum(union, 1)
    gaps = run.inter[:, 1] - (inter / safe)[rows] * run.union[:, 1]
    return np.asarray(100 * gaps / safe[rows] / max(number, 1))


def _collect_strata(runs: Sequence[RunResult]) -> list[_Stratum]:
    """Divide the episodes of a mean over folds by plan and class; folds of one plan add up."""
    sums: dict[tuple[str, int], dict[int, float]] = defaultdict(lambda: defaultdict(float))
    query: dict[tuple[str, int], dict[int, str]] = defaultdict(dict)
    sets: dict[str, int] = {}
    for run in runs:
        sets[run.plan_sha256] = run.support_sets
        rows = zip(
            run.class_ids.tolist(), run.indices.tolist(), run.queries, compute_contributions(run), strict=True
        )
        for c, index, item, value in rows:
            sums[run.plan_sha256, c][index] += float(value) / len(runs)
            query[run.plan_sha256, c][index] = item
    return [
        _Stratum(
            np.array(list(by_index.values())),
            np.unique(list(query[plan, c].values()), return_inverse=True)[1],
            len(by_index) / len({index // sets[plan] for index in by_index}),
        )
        for (plan, c), by_index in sums.items()
    ]


def _resample(
    strata: Sequence[_Stratum], resamples: int, seed: int, runs: Sequence[RunResult]
) -> NDArray[np.float64]:
    """Return the half-width on resamples of the queries of each class: (resamples,); empty if there are none."""
    if not resamples:
        return np.array([])
    rng = plan_generator(seed, " ".join(["support choice", *(run.plan_sha256 for run in runs)]))
    variance = np.zeros(resamples)
    for stratum in strata:
        sizes, squares, _ = _sum_groups(stratum.values, stratum.queries)
        chosen = rng.integers(0, len(sizes), (resamples, len(sizes)))
        freedom = (sizes[chosen] - 1).sum(axis=1)
        within = squares[chosen].sum(axis=1) / np.maximum(freedom, 1)
        variance += within * len(stratum.values) * stratum.sets
    return np.asarray(_Z * np.sqrt(variance))
