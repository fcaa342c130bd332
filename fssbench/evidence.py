"""The rule that decides whether there are enough queries for an interval and a verdict.

Every table, figure and command uses this rule.  The counted unit is a query: one image asked for one class under
one plan.  The same query with other supports adds an episode but no query.  A second fold that is tested on the
same plan adds no query either.  `docs/statistics.md` shows the simulations behind the two bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fssbench.contracts.results import RunResult
from fssbench.metrics import select_scored_classes

LEAST_IN_CLASS = 3
"""Distinct queries that each class of a figure needs."""
LEAST_FREEDOM = 20
"""Degrees of freedom that a figure needs: 21 queries of one class, 4 of each of 7, 3 of each of 10."""
_MOST_COUNTED = 64
"""Further queries of a class do not change whether there are enough."""
TOO_FEW: Final = "too few queries"
"""Printed in place of an interval and of a verdict."""

MORE_QUERIES: Final = (
    f"An interval and a verdict need {LEAST_IN_CLASS} distinct queries in each class and {LEAST_FREEDOM} degrees "
    "of freedom (one class: 21 queries; seven: 4 each). Next: `fssbench run` again with a larger --episodes "
    "or, if every image has been a query, with more images"
)
"""What a user can do about too few queries."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The distinct queries that a figure is computed from."""

    asked: Mapping[tuple[str, int], frozenset[object]]
    """Queries by plan and class, for each class that the figure includes."""

    @property
    def queries(self) -> int:
        """Number of distinct queries; an image that is asked for two classes counts twice."""
        return sum(map(len, self.asked.values()))

    @property
    def fewest(self) -> int:
        """Number of distinct queries of the class with the fewest."""
        return min(map(len, self.asked.values()), default=0)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the figure's variance (Welch and Satterthwaite, with equal variance in all classes).

        With m queries in each of C classes it is C(m - 1).  One small class beside large ones dominates the
        variance and with it the degrees of freedom.  The number of queries taken from large classes is the one
        that gives the most degrees of freedom, so more queries never give fewer.
        """
        return _count_freedom(tuple(map(len, self.asked.values())))

    @property
    def enough(self) -> bool:
        """Whether a figure gets an interval, and a difference of two figures a verdict."""
        return self.fewest >= LEAST_IN_CLASS and self.freedom >= LEAST_FREEDOM - 1e-9

    @property
    def shortage(self) -> str:
        """Text such as `too few queries (8; 1 in a class)`; empty if there are enough.

        Example:
            >>> Evidence({("plan", 0): frozenset("abc"), ("plan", 1): frozenset("a")}).shortage
            'too few queries (4; 1 in a class)'
        """
        if self.enough:
            return ""
        one_class = f"; {self.fewest} in a class" if len(self.asked) > 1 else ""
        return f"{TOO_FEW} ({self.queries}{one_class})"

    @property
    def needed(self) -> int:
        """Number of queries that would be enough, spread evenly over the classes."""
        classes = max(1, len(self.asked))
        return classes * max(LEAST_IN_CLASS, 1 - (-LEAST_FREEDOM // classes))

    def join(self, other: Evidence) -> Evidence:
        """Return the evidence of a mean over both; a query of both counts once."""
        asked = dict(self.asked)
        for place, queries in other.asked.items():
            asked[place] = asked.get(place, frozenset()) | queries
        return Evidence(asked)


@lru_cache
def _count_freedom(numbers: tuple[int, ...]) -> float:
    """Degrees of freedom with these numbers of queries in the classes, see `Evidence.freedom`."""
    if min(numbers, default=0) < 2:
        return 0.0
    most = np.arange(2, min(max(numbers), _MOST_COUNTED) + 1)
    taken = np.minimum.outer(most, np.array(numbers, dtype=np.float64))
    return float(((1 / taken).sum(axis=1) ** 2 / (1 / (taken**2 * (taken - 1))).sum(axis=1)).max())


NO_EVIDENCE = Evidence({})
"""Evidence without any run."""


def count_queries(
    plan: str, class_ids: ArrayLike, queries: Sequence[object], classes: Iterable[int], *, whole: bool = True
) -> Evidence:
    """Count the distinct queries of one run.

    Args:
        plan: name of the episode set, such as the plan's sha256.
        class_ids: (N,) class id of each episode.
        queries: (N,) query of each episode.
        classes: class ids of the fold.
        whole: whether every episode of an uncapped plan was counted; if not, classes without an
            episode are left out.
    """
    ids = np.asarray(class_ids, dtype=np.int64)
    names = np.asarray(queries, dtype=object)
    scored = select_scored_classes(classes, ids, whole=whole)
    return Evidence({(plan, c): frozenset(names[ids == c].tolist()) for c in scored})


def collect_evidence(runs: Iterable[RunResult]) -> Evidence:
    """Count the distinct queries behind the mean over some runs, one run per fold."""
    return reduce(
        Evidence.join,
        (count_queries(r.plan_sha256, r.class_ids, r.queries, r.classes, whole=r.whole) for r in runs),
        NO_EVIDENCE,
    )


def distinct_episodes(runs: Iterable[RunResult]) -> int:
    """Count the episodes of some folds; folds that are tested on the same plan share theirs."""
    on_plans: dict[str, list[NDArray[np.int64]]] = {}
    for run in runs:
        on_plans.setdefault(run.plan_sha256, []).append(run.indices)  # each index is once in a run
    return sum(
        len(indices[0] if len(indices) == 1 else np.unique(np.concatenate(indices)))
        for indices in on_plans.values()
    )


def planned_episodes(runs: Iterable[RunResult]) -> int:
    """Count the planned episodes of some folds; folds of one plan share theirs."""
    return sum({run.plan_sha256: run.planned for run in runs}.values())


def format_p(p: float) -> str:
    """Write a p value with three decimals; a small one as a bound, and a missing one as a dash.

    Example:
        >>> format_p(0.0004), format_p(0.25), format_p(float("nan"))
        ('<0.001', '0.250', '-')
    """
    return "-" if p != p else "<0.001" if p < 0.001 else f"{p:.3f}"
