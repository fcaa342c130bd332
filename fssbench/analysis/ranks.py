"""Mean ranks over benchmarks, with Friedman's test and Nemenyi's critical difference.

Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7 (2006), sections
3.2.1 and 3.2.2.  Quantiles are computed, not tabulated, so that any number of methods can be ranked.
Friedman's p is that of the chi-square approximation, rough below about ten blocks.

scipy.stats has all of this, and the tests hold the two equal.  It is not used because importing it takes as long as
the rest of `fssbench compare`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def average_ranks(figures: ArrayLike) -> NDArray[np.float64]:
    """Return the mean rank of each method over blocks; rank 1 is the highest figure; equal figures get their mean rank.

    Args:
        figures: (blocks, methods).

    Example:
        >>> average_ranks([[60.0, 50.0, 50.0], [70.0, 40.0, 30.0]]).tolist()
        [1.0, 2.25, 2.75]
    """
    return np.asarray(_rank_values(np.asarray(figures, dtype=np.float64)).mean(axis=0))


def run_friedman_test(figures: ArrayLike) -> float:
    """Return the p value of no difference between the methods: Friedman's chi-square, corrected for ties.

    Args:
        figures: (blocks, methods), two methods or more.

    Returns:
        The p value; 1 where every block ranks all methods equal.
    """
    ranks = _rank_values(np.asarray(figures, dtype=np.float64))
    blocks, methods = ranks.shape
    spread = ((ranks - (methods + 1) / 2) ** 2).sum()
    if spread == 0:
        return 1.0
    between = ((ranks.sum(axis=0) - blocks * (methods + 1) / 2) ** 2).sum()
    return compute_chi_square_tail(float((methods - 1) * between / spread), methods - 1)


def compute_critical_difference(methods: int, blocks: int, *, level: float = 0.05) -> float:
    """Return Nemenyi's critical difference: the least significant difference of two mean ranks.

    Args:
        methods: number of methods, 2 or more.
        blocks: number of blocks.
        level: error rate over all pairs together.

    Example:
        >>> round(compute_critical_difference(5, 30), 4)
        1.1137
    """
    q = _compute_studentised_range(1 - level, methods) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * blocks))


def group_ranks(ranks: Sequence[float], critical: float) -> list[tuple[int, ...]]:
    """Largest sets of methods whose mean ranks lie within the critical difference of each other.

    Returns:
        Places in `ranks`, best rank first; sets of one are left out.

    Example:
        >>> group_ranks([1.0, 3.0, 1.5, 2.2], critical=1.0)
        [(0, 2), (2, 3), (3, 1)]
    """
    order = sorted(range(len(ranks)), key=lambda i: (ranks[i], i))
    sets: list[tuple[int, ...]] = []
    reached = 0
    for start in range(len(order)):
        end = start
        while end < len(order) and ranks[order[end]] - ranks[order[start]] <= critical:
            end += 1
        if end > reached and end - start > 1:
            sets.append(tuple(order[start:end]))
        reached = max(reached, end)
    return sets


def _rank_values(figures: NDArray[np.float64]) -> NDArray[np.float64]:
    """(blocks, methods) ranks, 1 for the highest; equal figures share their mean rank."""
    higher = (figures[:, None, :] > figures[:, :, None]).sum(axis=2)
    equal = (figures[:, None, :] == figures[:, :, None]).sum(axis=2)
    return np.asarray(higher + (equal + 1) / 2)


def compute_chi_square_tail(x: float, df: int) -> float:
    """Probability that chi-square with `df` degrees of freedom exceeds x: a finite sum, since df is whole."""
    half = x / 2
    if df % 2 == 0:
        return math.exp(-half) * sum(half**i / math.factorial(i) for i in range(df // 2))
    terms = sum(half ** (i + 0.5) / math.gamma(i + 1.5) for i in range(df // 2))
    return math.erfc(math.sqrt(half)) + math.exp(-half) * terms


def _compute_studentised_range(p: float, methods: int) -> float:
    """Quantile of the range of that many standard normal draws (infinite degrees of freedom)."""
    z = np.linspace(-9, 9, 3601)
    phi = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in z])
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])

    def below(q: float) -> float:
        """P(range <= q): the smallest lies at z, the others within q above it."""
        above = np.interp(z + q, z, phi, right=1.0)
        return float(methods * (density * (above - phi) ** (methods - 1)).sum())

    low, high = 0.0, 20.0
    while high - low > 1e-7:
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) < p else (low, middle)
    return (low + high) / 2
