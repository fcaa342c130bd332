"""Whether there are enough queries for an interval and a verdict: the one rule of the whole product.

The unit that is counted is a query: one image asked for one class under one plan.  An episode that
asks it again with other supports adds an episode and no query, and so does another fold that is
tested on the same plan.  `docs/statistics.md` has the simulations behind the two bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from fssbench.contracts.results import RunResult
from fssbench.metrics import scored_classes

LEAST_IN_CLASS = 3
"""Distinct queries that each class of a figure needs."""
LEAST_FREEDOM = 20
"""Degrees of freedom that a figure needs: 21 queries of one class, 4 of each of 7, 3 of each of 10."""
_MOST_COUNTED = 64
"""Queries of a class beyond these change nothing about whether there are enough."""
TOO_FEW: Final = "too few queries"
"""What stands in place of an interval and of a verdict."""

MORE_QUERIES: Final = (
    f"An interval and a verdict need {LEAST_IN_CLASS} distinct queries in each class and {LEAST_FREEDOM} degrees "
    "of freedom (one class: 21 queries; seven: 4 each). Next: `fssbench run` again with a larger --episodes"
)
"""What to do about too few queries."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The distinct queries that a figure rests on."""

    asked: Mapping[tuple[str, int], frozenset[object]]
    """Queries by plan and class, for each class that the figure speaks of."""

    @property
    def queries(self) -> int:
        """Distinct queries; an image that is asked for two classes counts twice."""
        return sum(map(len, self.asked.values()))

    @property
    def fewest(self) -> int:
        """Distinct queries of the class that has fewest."""
        return min(map(len, self.asked.values()), default=0)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the figure's variance, as if all classes varied alike.

        By Welch and Satterthwaite.  With m queries in each of C classes it is C(m - 1); one small
        class beside large ones has most of the variance and of the freedom.  Large classes are taken
        with as many of their queries as give the most, so that more queries never make it less.
        """
        if self.fewest < 2:
            return 0.0
        numbers = np.array(list(map(len, self.asked.values())), dtype=np.float64)
        most = np.arange(2, min(int(numbers.max()), _MOST_COUNTED) + 1)
        taken = np.minimum.outer(most, numbers)
        return float(((1 / taken).sum(axis=1) ** 2 / (1 / (taken**2 * (taken - 1))).sum(axis=1)).max())

    @property
    def enough(self) -> bool:
        """Whether the figure can have an interval, and a difference of two such figures a verdict."""
        return self.fewest >= LEAST_IN_CLASS and self.freedom >= LEAST_FREEDOM - 1e-9

    @property
    def shortage(self) -> str:
        """`too few queries (8; 1 in a class)`; empty where there are enough.

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
        """Queries that would be enough, spread evenly over the classes."""
        classes = max(1, len(self.asked))
        return classes * max(LEAST_IN_CLASS, 1 - (-LEAST_FREEDOM // classes))

    def joined(self, other: Evidence) -> Evidence:
        """The evidence of a mean over both: what both asked counts once."""
        asked = dict(self.asked)
        for place, queries in other.asked.items():
            asked[place] = asked.get(place, frozenset()) | queries
        return Evidence(asked)


NOTHING = Evidence({})
"""The evidence of no run."""


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
            episode are not spoken of.
    """
    ids = np.asarray(class_ids, dtype=np.int64)
    names = np.asarray(queries, dtype=object)
    scored = scored_classes(classes, ids, whole=whole)
    return Evidence({(plan, c): frozenset(names[ids == c].tolist()) for c in scored})


def evidence_of(runs: Iterable[RunResult]) -> Evidence:
    """Count the distinct queries behind the mean over some runs, each run being a fold of its own."""
    return reduce(
        Evidence.joined,
        (count_queries(r.plan_sha256, r.class_ids, r.queries, r.classes, whole=r.whole) for r in runs),
        NOTHING,
    )


def distinct_episodes(runs: Iterable[RunResult]) -> int:
    """Count the episodes of some folds; folds that are tested on the same plan share theirs."""
    counted: dict[str, set[int]] = {}
    for run in runs:
        counted.setdefault(run.plan_sha256, set()).update(run.indices.tolist())
    return sum(map(len, counted.values()))


def planned_episodes(runs: Iterable[RunResult]) -> int:
    """Count the episodes that some folds are to hold, those of one plan once."""
    return sum({run.plan_sha256: run.planned for run in runs}.values())


def format_p(p: float) -> str:
    """Write a p value with three decimals; a small one as a bound, and a missing one as a dash.

    Example:
        >>> format_p(0.0004), format_p(0.25), format_p(float("nan"))
        ('<0.001', '0.250', '-')
    """
    return "-" if p != p else "<0.001" if p < 0.001 else f"{p:.3f}"
