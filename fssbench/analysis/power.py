"""Estimates from stored runs how many episodes or seeds would show a difference.

A difference is shown if `fssbench.analysis.comparisons` calls it significant: by its two-sided paired test, adjusted
over the pairs of its benchmark and shot.  The level is that of the strictest step of Holm's method, 5 % divided by the
number of pairs, so the outcomes of the other pairs do not matter.  The standard error of a paired difference falls with
the root of the number of queries.  An episode that repeats a query with other supports is worth much less than a new
query.  If methods were trained several times, the spread between trainings is added; more episodes do not reduce it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from fssbench.analysis.comparisons import LEVEL, Pair, SeedSpread
from fssbench.errors import UsageError
from fssbench.evidence import TOO_FEW


@dataclass(frozen=True)
class Power:
    """The power of a comparison of two methods on one benchmark and shot, and what would increase it."""

    pair: Pair
    episodes: int
    """Present number of episodes per fold (the mean if folds differ; folds on one plan share theirs)."""
    queries: int
    """Present number of distinct queries per fold."""
    error: float
    """Standard error of the paired difference at present, from episodes alone, in points."""
    training: float | None
    """Standard deviation of the difference between trainings; None if it is not known."""
    smallest: float
    """The smallest difference that the present number shows with the power asked for."""
    episodes_needed: int | None
    """Episodes per fold that would show the difference, with a matching number of new queries; None if no number
    would, because the spread of the trainings is larger."""
    queries_needed: int | None
    seeds_needed: int
    """Number of runs, each with another seed: new episodes, and new trainings if `training` is known."""


def estimate_power(
    pairs: Iterable[Pair], spreads: Sequence[SeedSpread] = (), *, difference: float, power: float = 0.8
) -> tuple[Power, ...]:
    """Estimate for each pair what is needed to show a difference of a given size.

    Args:
        pairs: compared runs, from `compare_pairs`.  Those with too few queries are left out.
        spreads: from `estimate_seed_spread`.  The spread between trainings is counted in if both methods of a pair
            were trained several times, or have nothing to train.
        difference: mIoU points to be shown.
        power: probability with which a true difference of that size is to be shown.

    Raises:
        UsageError: for a difference that is not above 0, or a power outside 0.05 to 1.
    """
    if not (difference > 0 and math.isfinite(difference)):
        raise UsageError(f"a difference to be shown is above 0 points; got {difference}")
    if not LEVEL < power < 1:
        raise UsageError(f"power lies between {LEVEL} and 1, both excluded; got {power}")
    return tuple(
        _compute_power(pair, _estimate_training_deviation(pair, spreads), difference, power)
        for pair in pairs
        if pair.outcome != TOO_FEW
    )


def _compute_power(pair: Pair, training: float | None, difference: float, power: float) -> Power:
    normal = NormalDist()
    z = normal.inv_cdf(1 - LEVEL / pair.family / 2) + normal.inv_cdf(power)
    wanted = difference / z  # the standard error that shows the difference
    error, fixed = pair.difference.error, training or 0.0
    episodes, queries = round(pair.episodes / pair.plans), round(pair.queries / pair.plans)
    growth = error**2 / (wanted**2 - fixed**2) if wanted > fixed else None
    return Power(
        pair=pair,
        episodes=episodes,
        queries=queries,
        error=error,
        training=training,
        smallest=z * math.hypot(error, fixed),
        episodes_needed=None if growth is None else max(1, math.ceil(growth * episodes)),
        queries_needed=None if growth is None else max(1, math.ceil(growth * queries)),
        seeds_needed=max(1, math.ceil((error**2 + fixed**2) / wanted**2)),
    )


def _estimate_training_deviation(pair: Pair, spreads: Sequence[SeedSpread]) -> float | None:
    """Return the standard deviation of the difference between trainings; None if one of the methods has none."""
    parts = []
    for cell in (pair.a, pair.b):
        if all(run.learnable == 0 for run in cell.folds.values()):
            parts.append(0.0)
            continue
        deviations = [s.between for s in spreads if s.kind == "training" and any(c is cell for c in s.cells)]
        if not deviations:
            return None
        parts.append(deviations[0])
    return math.hypot(*parts)
