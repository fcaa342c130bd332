"""Whether intervals and comparisons err as rarely as they say, in simulated benchmarks.

A benchmark is drawn as real ones are: classes of unequal difficulty, object areas that are
lognormal, larger objects segmented better, now and then an object missed, queries asked several
times with other supports, and methods that find the same episodes hard.  What an interval is to
cover is the figure's mean over such draws.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from fssbench.analysis.statistics import Sample, compute_difference, estimate_of_runs
from fssbench.evidence import collect_evidence, count_queries

UNEVEN = (3, 4, 5, 6, 8, 8, 10, 10, 12, 12, 14, 14, 16, 18, 20, 24, 28, 36, 42, 60)


@dataclass
class Run:
    """What `estimate_of_runs` reads of a run."""

    class_ids: NDArray[np.int64]
    inter: NDArray[np.int64]
    union: NDArray[np.int64]
    queries: tuple[int, ...]
    classes: tuple[int, ...]
    plan_sha256: str
    absent_rule: str = "zero"
    whole: bool = True


class Population:
    """Classes from which benchmarks are drawn, each with so many queries, each asked so many times."""

    def __init__(self, seed: int, queries: tuple[int, ...], times: int) -> None:
        draw = np.random.default_rng([seed, len(queries), times])
        self.area, self.ease = draw.normal(9, 0.7, len(queries)), draw.normal(0.3, 0.8, len(queries))
        self.ids = np.repeat(np.arange(len(queries)), queries)
        self.times = times

    def benchmark(self, draw: np.random.Generator, name: str) -> list[Run]:
        """Two methods, equally good, on one draw of queries and supports."""
        n = len(self.ids)
        ids, queries = np.tile(self.ids, self.times), np.tile(np.arange(n), self.times)
        target = np.minimum(np.exp(draw.normal(self.area[self.ids], 1.0)), 150_000)[queries]
        query, support = draw.normal(0, 1, n)[queries], draw.normal(0, 0.6, len(ids))
        hard = self.ease[ids] + 0.5 * (np.log(target) - 9) + query + support
        runs = []
        for _ in range(2):
            result = 1 / (1 + np.exp(-hard - draw.normal(0, 0.7, len(ids))))
            result[draw.random(len(ids)) < 0.07] = 0
            extra = target * np.exp(draw.normal(-1.5, 1, len(ids))) * (1 - 0.7 * result)
            inter, union = (
                (target * result).astype(np.int64),
                np.minimum(target + extra, 160_000).astype(np.int64),
            )
            counts = [np.stack([160_000 - u, i], axis=1) for u, i in ((union, inter), (inter, union))]
            runs.append(Run(ids, *counts, tuple(queries), tuple(range(len(self.area))), name))
        return runs


def covered_and_rejected(
    queries: tuple[int, ...], times: int, *, benchmarks: int, populations: int = 4, resamples: int = 500
) -> tuple[float, float, float]:
    """How often the intervals of mIoU and FB-IoU cover the mean figure, and equal methods are told apart."""
    hits, told = np.zeros(2), 0
    for number in range(populations):
        population = Population(number, queries, times)
        draw = np.random.default_rng(number)
        samples: list[tuple[Sample, Sample]] = []
        for k in range(benchmarks // populations):
            a, b = estimate_of_runs(population.benchmark(draw, f"{k}"), resamples=resamples)
            samples += [a, b]
            told += compute_difference(a[0], b[0]).p <= 0.05
        for side in (0, 1):
            truth = np.mean([sample[side].value for sample in samples])
            mine = [sample[side].estimate for sample in samples[::2]]
            hits[side] += sum(e.low <= truth <= e.high for e in mine)
    return hits[0] / benchmarks, hits[1] / benchmarks, told / benchmarks


REGIMES = {
    "1,000 episodes of 5 classes": ((200,) * 5, 1),
    "1,000 episodes of 20 classes": ((50,) * 20, 1),
    "1,050 episodes, 350 queries of 5 classes": ((20, 40, 70, 100, 120), 3),
    "1,092 episodes, 364 queries of 20 classes": (UNEVEN, 3),
    "200 episodes of 20 classes": ((10,) * 20, 1),
}


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("regime", REGIMES)
def test_intervals_cover_and_comparisons_err_as_often_as_they_say(regime: str) -> None:
    miou, fb_iou, rejected = covered_and_rejected(*REGIMES[regime], benchmarks=2000)
    print(f"\n{regime}: mIoU {miou:.3f}, FB-IoU {fb_iou:.3f}, rejected {rejected:.3f}")
    assert 0.93 <= miou <= 0.97
    assert 0.93 <= fb_iou <= 0.97
    assert 0.03 <= rejected <= 0.07


def spread(episodes: int, classes: int) -> tuple[int, ...]:
    """So many queries over so many classes, as evenly as can be; classes that are not met left out."""
    return tuple(len(part) for part in np.array_split(np.arange(episodes), classes) if len(part))


def exchanged(runs: list[Run], draw: np.random.Generator) -> list[Run]:
    """The two methods, their outcomes exchanged at random, query by query."""
    a, b = runs
    asked = np.asarray(a.queries)
    turn = (draw.random(asked.max() + 1) < 0.5)[asked][:, None]
    return [
        replace(one, inter=np.where(turn, two.inter, one.inter), union=np.where(turn, two.union, one.union))
        for one, two in ((a, b), (b, a))
    ]


FEW = [(episodes, classes) for episodes in (4, 8, 30) for classes in (1, 7, 20)]
GIVEN = {(30, 1), (30, 7)}
"""Cases of `FEW` in which there are enough queries."""


@pytest.mark.parametrize(("episodes", "classes"), FEW)
def test_there_is_an_interval_and_a_verdict_only_where_there_are_enough(episodes: int, classes: int) -> None:
    sizes = spread(episodes, classes)
    runs = Population(0, sizes, 2).benchmark(np.random.default_rng(0), "x")  # each query asked twice
    (a, a_fb), (b, _) = estimate_of_runs(runs, resamples=200)
    gap = compute_difference(a, b)
    given = (episodes, classes) in GIVEN
    assert collect_evidence(runs).enough is given
    for estimate in (a.estimate, a_fb.estimate):
        assert np.isfinite([estimate.low, estimate.high]).all() == given
        assert (estimate.shortage == "") is given
    assert np.isfinite([gap.low, gap.high, gap.p, gap.error]).all() == given
    smallest = f"; {min(sizes)} in a class" if len(sizes) > 1 else ""
    assert gap.shortage == ("" if given else f"too few queries ({episodes}{smallest})")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "sizes",
    [spread(30, 1), spread(30, 7), (21,), (3,) * 10, (4,) * 7, (3,) * 20, (5,) * 5, (3,) + (20,) * 6],
    ids=str,
)
def test_wherever_a_verdict_is_given_it_errs_rarely(sizes: tuple[int, ...]) -> None:
    benchmarks, told, turned = 2000, 0, 0
    covered = covered_and_rejected(sizes, 1, benchmarks=benchmarks)
    for number in range(4):
        population, draw = Population(number, sizes, 1), np.random.default_rng(100 + number)
        for k in range(benchmarks // 4):
            a, b = estimate_of_runs(exchanged(population.benchmark(draw, f"{k}"), draw), resamples=500)
            p = compute_difference(a[0], b[0]).p
            assert not np.isnan(p)
            turned += p <= 0.05
    told = covered[2]
    print(f"\n{sizes}: covered {covered[:2]}, rejected {told:.3f}, exchanged {turned / benchmarks:.3f}")
    assert min(covered[:2]) >= 0.89
    assert told <= 0.07
    assert turned / benchmarks <= 0.07


@given(st.lists(st.integers(1, 60), min_size=1, max_size=24))
def test_the_rule_asks_for_more_never_for_less(sizes: list[int]) -> None:
    def enough(numbers: list[int]) -> bool:
        ids = np.repeat(np.arange(len(numbers)), numbers)
        return count_queries("plan", ids, list(range(len(ids))), range(len(numbers))).enough

    assert enough([max(sizes)] * len(sizes)) or not enough(sizes)
    assert not enough([*sizes, 2])
    if enough(sizes):
        assert min(sizes) >= 3
        assert sum(sizes) - len(sizes) >= 20


def test_the_simulation_is_as_described() -> None:
    population = Population(0, (20, 40, 70), 3)
    a, b = population.benchmark(np.random.default_rng(0), "x")
    share = [run.inter[:, 1] / run.union[:, 1] for run in (a, b)]
    assert len(set(a.queries)) == 130
    assert len(a.queries) == 390
    assert np.corrcoef(*share)[0, 1] > 0.4
    assert np.corrcoef(np.log(a.union[:, 1]), share[0])[0, 1] > 0.1
    assert (a.inter <= a.union).all()
    areas = a.union[:, 1]
    assert areas.max() > 5 * np.median(areas)


def test_a_few_hundred_benchmarks_are_near_what_is_claimed() -> None:
    miou, fb_iou, rejected = covered_and_rejected((20,) * 5, 2, benchmarks=240, populations=1, resamples=200)
    assert 0.90 <= miou <= 0.99
    assert 0.90 <= fb_iou <= 0.99
    assert rejected <= 0.10
