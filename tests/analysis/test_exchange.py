"""The exchange test: against every exchange there is, against scipy, and where a bootstrap errs."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from scipy.stats import permutation_test

from fssbench.analysis import exchange
from fssbench.analysis.exchange import exchange_p
from fssbench.analysis.statistics import compute_difference, estimate_of_runs, plan_generator
from fssbench.metrics import score


def miou(run: Any, inter: Any = None, union: Any = None) -> float:
    inter, union = run.inter if inter is None else inter, run.union if union is None else union
    return score(run.class_ids, inter, union, run.classes, absent=run.absent_rule).miou


def every_exchange(a: Any, b: Any) -> float:
    """The share of all exchanges, query by query, whose difference is as large as the one measured."""
    queries = sorted(set(zip(a.class_ids.tolist(), a.queries, strict=True)))
    place = {query: n for n, query in enumerate(queries)}
    of = np.array([place[key] for key in zip(a.class_ids.tolist(), a.queries, strict=True)])
    measured = abs(miou(a) - miou(b))
    reached = []
    for turn in product((False, True), repeat=len(queries)):
        mask = np.array(turn)[of][:, None]
        mine = miou(a, np.where(mask, b.inter, a.inter), np.where(mask, b.union, a.union))
        its = miou(b, np.where(mask, a.inter, b.inter), np.where(mask, a.union, b.union))
        reached.append(abs(mine - its) >= measured - 1e-9)
    return float(np.mean(reached))


@pytest.mark.parametrize("absent", ["zero", "exclude"])
def test_against_every_exchange(table: Any, absent: str) -> None:
    block = {"absent": absent}
    a, b = (
        table.make_run(m, skill=s, episodes=16, queries=8, classes=3, noise=0.1, block=block)
        for m, s in (("a", 0.62), ("b", 0.6))
    )
    if absent == "exclude":  # a class without a pixel in both, and one that only one method has predicted
        union = np.where((a.class_ids == a.class_ids[0])[:, None], 0, a.union)
        a = replace(a, union=union, inter=np.minimum(a.inter, union))
    (p,) = exchange_p([[(a, b)]], draws=40_000, seed=0)
    assert p == pytest.approx(every_exchange(a, b), abs=0.01)


def plain_gaps(a: Any, b: Any, *, draws: int, seed: int) -> Any:
    """The (draws) differences of the same draws in points, every one scored as a run."""
    rng = plan_generator(seed, f"exchange {a.plan_sha256}")
    turned = np.zeros((draws, len(a.class_ids), 1), dtype=bool)
    for c in a.classes:
        mine = np.flatnonzero(a.class_ids == c)
        queries, row = np.unique(np.asarray(a.queries)[mine], return_inverse=True)
        turned[:, mine, 0] = rng.integers(0, 2, size=(len(queries), draws), dtype=np.bool_)[row].T
    gaps = [
        miou(a, np.where(t, b.inter, a.inter), np.where(t, b.union, a.union))
        - miou(b, np.where(t, a.inter, b.inter), np.where(t, a.union, b.union))
        for t in turned
    ]
    return np.nan_to_num(gaps)


def plain_exchange_p(a: Any, b: Any, *, draws: int, seed: int) -> float:
    """The p of the same draws, every one scored as a run."""
    reached = np.abs(plain_gaps(a, b, draws=draws, seed=seed)) >= abs(np.nan_to_num(miou(a) - miou(b))) - 1e-9
    return float((np.count_nonzero(reached) + 1) / (draws + 1))


@pytest.mark.parametrize("absent", ["zero", "exclude"])
@pytest.mark.parametrize("spread", [1, 30, 100_000, 50_000_000])
@pytest.mark.parametrize("sparse", [0.0, 0.6, 1.0])
def test_estimates_change_no_p(
    table: Any, monkeypatch: pytest.MonkeyPatch, absent: str, spread: int, sparse: float
) -> None:
    """For the measured difference, and for differences that a draw reaches or misses by a hair."""
    rng = np.random.default_rng(spread)
    whole = table.make_run("m", episodes=24, queries=12, classes=3, block={"absent": absent})
    runs = []
    for method in range(3):
        union = rng.integers(1, spread + 1, size=whole.union.shape) * (
            rng.random(whole.union.shape) >= sparse
        )
        union *= 1 + 20 * (method == 2)  # its unions are unlike those of the others
        runs.append(replace(whole, union=union, inter=rng.integers(0, union + 1)))
    couples = list(combinations(runs, 2))
    lines = []
    decide = exchange.Estimates.decide

    def keep(line: Any, sums: Any, limits: Any) -> Any:
        lines.append((line, sums))
        return decide(line, sums, limits)

    monkeypatch.setattr(exchange.Estimates, "decide", keep)
    draws = 24
    assert exchange_p([[couple] for couple in couples], draws=draws, seed=5) == [
        plain_exchange_p(a, b, draws=draws, seed=5) for a, b in couples
    ]
    gaps = np.abs([plain_gaps(a, b, draws=draws, seed=5) for a, b in couples])
    for line, sums in lines:
        for draw in range(draws):
            for limits in (gaps[:, draw] * (1 - 1e-6), gaps[:, draw] * (1 + 1e-6)):
                reached, couple, at = decide(line, sums, limits)
                undecided = couple[gaps[couple, at] >= limits[couple]]
                reached = reached + np.bincount(undecided, minlength=len(couples))
                assert reached.tolist() == (gaps >= limits[:, None]).sum(axis=1).tolist()


def test_the_factor_decides_what_the_line_leaves_open_with_few_queries_in_many_classes(
    table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    whole = table.make_run("m", episodes=80, queries=40, classes=20)
    runs = []
    for _ in range(3):
        union = (whole.union * rng.uniform(1, 4, whole.union.shape)).astype(np.int64)
        runs.append(replace(whole, union=union))
    couples = list(combinations(runs, 2))
    decided = []
    apply = exchange.Estimates._compute_with_factor
    decide = exchange.Estimates.decide

    def keep(estimates: Any, sums: Any, couple: Any, draw: Any) -> Any:
        decided.append(len(couple))
        return apply(estimates, sums, couple, draw)

    def keep_open(estimates: Any, sums: Any, limits: Any) -> Any:
        outcome = decide(estimates, sums, limits)
        decided.append(-len(outcome[1]))
        return outcome

    monkeypatch.setattr(exchange.Estimates, "_compute_with_factor", keep)
    monkeypatch.setattr(exchange.Estimates, "decide", keep_open)
    draws = 200
    assert exchange_p([[couple] for couple in couples], draws=draws, seed=5) == [
        plain_exchange_p(a, b, draws=draws, seed=5) for a, b in couples
    ]
    without, still = sum(n for n in decided if n > 0), -sum(n for n in decided if n < 0)
    assert without > 20
    assert still < without / 10


def test_estimates_change_no_p_of_folds_that_share_a_plan_and_of_many_draws(table: Any) -> None:
    """The draws of a fold are in several blocks, and a method is a fold of two couples."""
    a, b, c = (
        table.make_run(m, skill=s, episodes=40, classes=2) for m, s in (("a", 0.61), ("b", 0.6), ("c", 0.612))
    )
    couples = [[(a, b), (a, b)], [(b, c), (b, c)], [(a, c), (b, c)]]
    p = exchange_p(couples, draws=1500, seed=5)
    assert p[:2] == [plain_exchange_p(x, y, draws=1500, seed=5) for x, y in ((a, b), (b, c))]
    assert p[2] == exchange_p(couples[2:], draws=1500, seed=5)[0]
    assert exchange_p([[]], draws=9, seed=0) == [1.0]


def test_against_scipy_where_the_figure_is_a_plain_mean(table: Any) -> None:
    a, b = (table.make_run(m, skill=s, episodes=60, classes=1) for m, s in (("a", 0.612), ("b", 0.6)))
    union = np.full_like(a.union, 40_000)
    a, b = replace(a, union=union), replace(b, union=union)
    theirs = permutation_test(
        (a.inter[:, 1], b.inter[:, 1]),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=40_000,
        rng=np.random.default_rng(0),
    )
    assert exchange_p([[(a, b)]], draws=40_000, seed=1)[0] == pytest.approx(theirs.pvalue, abs=0.01)


def test_the_law_of_its_smallest_p(table: Any) -> None:
    a, b = (table.make_run(m, skill=s) for m, s in (("a", 0.9), ("b", 0.3)))
    assert exchange_p([[(a, b)]], draws=999, seed=0) == [1 / 1000]
    assert exchange_p([[(a, a)]], draws=99, seed=0) == [1.0]


def test_both_ways_round_many_at_once_and_shared_folds_are_the_same(table: Any) -> None:
    a, b, c = (table.make_run(m, skill=s) for m, s in (("a", 0.61), ("b", 0.6), ("c", 0.62)))
    alone = exchange_p([[(a, b)]], draws=500, seed=3)
    assert exchange_p([[(b, a)]], draws=500, seed=3) == alone
    assert exchange_p([[(a, c)], [(a, b)], [(b, c)]], draws=500, seed=3)[1] == alone[0]
    folds = [(replace(a, fold=f), replace(b, fold=f)) for f in range(4)]
    assert exchange_p([folds], draws=500, seed=3) == alone
    assert exchange_p([[(a, b)]], draws=500, seed=4) != alone


def test_a_few_heavy_queries_deceive_a_bootstrap_and_not_the_exchange(table: Any) -> None:
    """Four of 30 queries have all the pixels: all four agree by chance in an eighth of the benchmarks."""
    plan = table.make_run("a", episodes=30, classes=1)
    union = np.full((30, 2), 100)
    union[:4] = 100_000
    draw = np.random.default_rng(0)
    rejected = np.zeros(2)
    for trial in range(300):
        better = draw.random((30, 1)) < 0.5
        a, b = (
            replace(
                plan,
                inter=(union * np.where(better, x, y)).astype(np.int64),
                union=union,
                identity=f"{trial}",
            )
            for x, y in ((0.6, 0.5), (0.5, 0.6))
        )
        (mine, _), (its, _) = estimate_of_runs([a, b], resamples=300)
        rejected += [
            compute_difference(mine, its).p <= 0.05,
            exchange_p([[(a, b)]], draws=300, seed=trial)[0] <= 0.05,
        ]
    assert rejected[0] / 300 > 0.08
    assert rejected[1] / 300 <= 0.07
