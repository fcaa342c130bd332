"""Power: by hand, by its laws, and by simulation of what it promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from fssbench.analysis.comparisons import compare_pairs, estimate_seed_spread
from fssbench.analysis.power import estimate_power
from fssbench.analysis.statistics import compute_difference, estimate_of_runs
from fssbench.api import UsageError

Z = norm.ppf(0.975) + norm.ppf(0.8)


def one(table: Any, *runs: Any, **named: Any) -> Any:
    results = table.make_results(*runs)
    (row, *_) = estimate_power(
        compare_pairs(results, resamples=200), estimate_seed_spread(results), **{"difference": 1.0, **named}
    )
    return row


def test_by_hand(table: Any) -> None:
    a, b = table.make_run("a", learnable=5), table.make_run("b")
    row = one(table, a, b)
    samples = [s for s, _ in estimate_of_runs([a, b], resamples=200)]
    error = compute_difference(*samples).error
    assert error == pytest.approx(np.std(samples[0].replicates - samples[1].replicates))
    assert row.error == pytest.approx(error)
    assert row.smallest == pytest.approx(Z * error)
    factor = (Z * error / 1.0) ** 2
    assert (row.episodes, row.queries) == (120, 120)
    assert row.episodes_needed == row.queries_needed == int(np.ceil(120 * factor))
    assert row.seeds_needed == int(np.ceil(factor))
    assert row.training is None


def test_repeated_queries_count_once(table: Any) -> None:
    row = one(table, *(table.make_run(m, episodes=120, queries=40) for m in "ab"))
    assert (row.episodes, row.queries) == (120, 40)
    assert row.episodes_needed / row.queries_needed == pytest.approx(3, rel=0.03)


def test_folds_are_counted_one_by_one(table: Any) -> None:
    cells = [table.make_cell(*(table.make_run(m, fold=f) for f in range(4))) for m in "ab"]
    row = one(table, *cells)
    assert (row.episodes, row.queries, row.pair.folds) == (120, 120, 4)


def test_half_the_difference_takes_four_times_as_much(table: Any) -> None:
    runs = [table.make_run(m) for m in "ab"]
    whole, half = one(table, *runs, difference=1.0), one(table, *runs, difference=0.5)
    assert half.episodes_needed == pytest.approx(4 * whole.episodes_needed, abs=4)
    assert one(table, *runs, power=0.95).episodes_needed > whole.episodes_needed
    assert half.smallest == whole.smallest
    now = one(table, *runs, difference=whole.smallest)
    assert now.episodes_needed in (120, 121)
    assert now.seeds_needed in (1, 2)


class TestTrainings:
    def runs(self, table: Any, noise: float = 0.05) -> list[Any]:
        return [table.make_run(m, head=f"{h}", learnable=9, noise=noise) for m in "ab" for h in range(3)]

    def test_their_spread_is_counted_in(self, table: Any) -> None:
        results = table.make_results(*self.runs(table))
        spread = {s.method: s.between for s in estimate_seed_spread(results)}
        rows = [
            r
            for r in estimate_power(compare_pairs(results), estimate_seed_spread(results), difference=1.0)
            if {r.pair.a.label, r.pair.b.label} == {"a", "b"}
        ]
        fixed = np.hypot(spread["a"], spread["b"])
        strictest = norm.ppf(1 - 0.025 / 15) + norm.ppf(0.8)  # 15 pairs of 6 cells are one family
        assert len(rows) == 9
        for row in rows:
            assert row.pair.family == 15
            assert row.training == pytest.approx(fixed)
            assert row.smallest == pytest.approx(strictest * np.hypot(row.error, fixed))
            assert row.seeds_needed == int(np.ceil((row.error**2 + fixed**2) * strictest**2))

    def test_no_number_of_episodes_overcomes_them(self, table: Any) -> None:
        row = one(table, *self.runs(table), difference=0.01)
        assert row.training > 0.01 / Z
        assert row.episodes_needed is None
        assert row.queries_needed is None
        assert row.seeds_needed > 1

    def test_a_method_without_parameters_has_none(self, table: Any) -> None:
        runs = [table.make_run("a", head=h, learnable=9) for h in "xy"]
        row = estimate_power(
            compare_pairs(results := table.make_results(*runs, table.make_run("b"))),
            spreads := estimate_seed_spread(results),
            difference=1.0,
        )[-1]
        assert {row.pair.a.label, row.pair.b.label} == {"a", "b"}
        assert row.training == spreads[0].between
        alone = table.make_results(runs[0], table.make_run("b", learnable=7))
        assert estimate_power(compare_pairs(alone), spreads, difference=1.0)[0].training is None


@pytest.mark.parametrize("episodes", [1, 8, 20])
def test_pairs_with_too_few_queries_tell_nothing(table: Any, episodes: int) -> None:
    results = table.make_results(*(table.keep_episodes(table.make_run(m), range(episodes)) for m in "ab"))
    assert estimate_power(compare_pairs(results), difference=1.0) == ()


def test_folds_on_one_plan_are_counted_once(table: Any) -> None:
    runs = [table.make_run(m) for m in "ab"]
    shared = [table.make_cell(*(replace(run, fold=f) for f in range(4))) for run in runs]
    once, often = one(table, *runs), one(table, *shared)
    assert (often.episodes, often.queries, often.pair.folds) == (120, 120, 4)
    assert often.episodes_needed == once.episodes_needed


@pytest.mark.parametrize(
    "named", [{"difference": 0}, {"difference": float("nan")}, {"power": 1}, {"power": 0.05}]
)
def test_what_cannot_be_asked(table: Any, named: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=r"above 0|between 0\.05 and 1"):
        estimate_power((), **{"difference": 1.0, **named})


def promised(table: Any, benchmarks: int) -> float:
    """How often the number of episodes that was told shows the difference it was told for."""
    gap, pilot = 0.012, [table.make_run(m, episodes=200, skill=s) for m, s in (("a", 0.6), ("b", 0.612))]
    true = np.mean(
        [
            table.make_run("b", seed=s, skill=0.6 + gap, episodes=4000).miou.value
            - table.make_run("a", seed=s, episodes=4000).miou.value
            for s in range(5)
        ]
    )
    needed = one(table, *pilot, difference=float(true)).episodes_needed
    shown = 0
    for seed in range(1000, 1000 + benchmarks):
        runs = [
            replace(table.make_run(m, seed=seed, skill=s, episodes=needed))
            for m, s in (("a", 0.6), ("b", 0.6 + gap))
        ]
        (a, _), (b, _) = estimate_of_runs(runs, resamples=300)
        shown += compute_difference(b, a).p <= 0.05
    return shown / benchmarks


def test_what_is_promised_comes_near(table: Any) -> None:
    assert 0.65 <= promised(table, 80) <= 0.95


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_is_promised_is_kept(table: Any) -> None:
    assert 0.74 <= promised(table, 1000) <= 0.86
