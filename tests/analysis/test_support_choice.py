"""The division of variance into query and support choice: known components, scipy's analysis of variance, redraws."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from manifests import make_manifest
from scipy import stats

from fssbench.analysis.statistics import estimate_of_runs
from fssbench.analysis.support_choice import (
    compute_contributions,
    compute_support_choices,
    decompose_variance,
)
from fssbench.metrics import score

SIZE = 10_000


def make_run(
    table: Any, ious: np.ndarray, unions: np.ndarray, *, classes: int = 1, fold: int = 0, **changes: Any
) -> Any:
    """A run with `sets` support sets for each of n queries: IoUs (n, sets), unions (n,) or (n, sets)."""
    queries, sets = ious.shape
    union = np.broadcast_to(np.asarray(unions).reshape(queries, -1), ious.shape).reshape(-1).astype(np.int64)
    inter = np.rint(ious.reshape(-1) * union).astype(np.int64)
    n = queries * sets
    run = table.make_run("a", fold=fold, episodes=n, classes=classes)
    block = run.manifest.block.as_stored()
    return replace(
        run,
        class_ids=np.repeat(np.arange(queries) % classes, sets),
        inter=np.stack([np.full(n, 10**9) - union, inter], axis=1),
        union=np.stack([np.full(n, 10**9) - inter, union], axis=1),
        target=union,
        queries=tuple(f"q{i // sets}" for i in range(n)),
        manifest=make_manifest(**{**block, "support_sets": sets}),
        **changes,
    )


def choose(table: Any, *runs: Any, resamples: int = 100) -> Any:
    (choice,) = compute_support_choices(table.make_results(table.make_cell(*runs), resamples=resamples))
    return choice


def draw_ious(rng: np.random.Generator, queries: int, sets: int, query: float, support: float) -> np.ndarray:
    return 0.5 + query * rng.standard_normal((queries, 1)) + support * rng.standard_normal((queries, sets))


@pytest.mark.parametrize("sizes", [[4] * 12, [2, 5, 9, 1, 3, 3, 7]], ids=["balanced", "unbalanced"])
def test_mean_squares_are_those_of_scipy(sizes: list[int]) -> None:
    rng = np.random.default_rng(1)
    groups = [rng.normal(rng.normal(), 1, n) for n in sizes]
    parts = decompose_variance(np.concatenate(groups), np.repeat(np.arange(len(sizes)), sizes))
    oracle = stats.f_oneway(*groups)
    assert parts.mean_square_between / parts.mean_square_within == pytest.approx(oracle.statistic)
    assert parts.mean_square_within == pytest.approx(
        sum(n * np.var(g) for n, g in zip(sizes, groups, strict=True)) / (sum(sizes) - len(sizes))
    )


@pytest.mark.parametrize("sizes", [[3] * 40, [1, 2, 3, 4, 10] * 8], ids=["balanced", "unbalanced"])
def test_components_are_unbiased(sizes: list[int]) -> None:
    rng, groups = np.random.default_rng(2), np.repeat(np.arange(len(sizes)), sizes)
    drawn = [
        decompose_variance(rng.normal(0, 2, len(sizes))[groups] + rng.normal(0, 3, len(groups)), groups)
        for _ in range(1500)
    ]
    for values, truth in (([p.between for p in drawn], 4), ([p.within for p in drawn], 9)):
        assert np.mean(values) == pytest.approx(truth, abs=4 * np.std(values) / math.sqrt(len(values)))


def test_known_components_are_recovered(table: Any) -> None:
    rng = np.random.default_rng(3)
    choices = [
        choose(table, make_run(table, draw_ious(rng, 150, 4, 0.08, 0.05), np.full(150, SIZE)), resamples=0)
        for _ in range(60)
    ]
    for values, truth in (
        ([c.query_error**2 for c in choices], (8 / math.sqrt(150)) ** 2),
        ([c.support_error**2 for c in choices], (5 / math.sqrt(150)) ** 2),
    ):
        assert np.mean(values) == pytest.approx(truth, abs=4 * np.std(values) / math.sqrt(len(values)))
    shares = [c.support_share for c in choices]
    assert np.mean(shares) == pytest.approx(100 * 25 / 89, abs=3)


@pytest.mark.parametrize("classes", [1, 3])
def test_the_half_width_is_that_of_single_draws_with_fixed_queries(table: Any, classes: int) -> None:
    """Objects differ in size, so mIoU is a true ratio; a single set of each query is drawn anew many times."""
    rng = np.random.default_rng(4)
    queries, unions = 150, np.exp(rng.normal(9, 0.8, 150)).astype(np.int64)
    centre = np.clip(0.55 + 0.1 * rng.standard_normal((queries, 1)), 0.2, 0.9)

    def draw(sets: int) -> np.ndarray:
        return np.clip(centre + 0.07 * rng.standard_normal((queries, sets)), 0, 1)

    ids = np.arange(queries) % classes
    single = draw(3000)
    mious = np.mean(
        [
            100 * (single[ids == c] * unions[ids == c, None]).sum(axis=0) / unions[ids == c].sum()
            for c in range(classes)
        ],
        axis=0,
    )
    choice = choose(table, make_run(table, draw(12), unions, classes=classes))
    assert choice.half_width.value == pytest.approx(1.96 * mious.std(), rel=0.12)
    assert choice.half_width.low < choice.half_width.value < choice.half_width.high


def test_both_parts_add_up_to_the_error_of_the_figure(table: Any) -> None:
    """The variance of the run as it is: V_Q and V_S / N, against the jackknife's standard error by query."""
    rng = np.random.default_rng(5)
    run = make_run(table, draw_ious(rng, 200, 5, 0.08, 0.06), np.exp(rng.normal(9, 0.5, 200)), classes=2)
    choice = choose(table, run)
    ((miou, _),) = estimate_of_runs([run], resamples=400)
    assert math.hypot(choice.query_error, choice.support_error / math.sqrt(5)) == pytest.approx(
        miou.error, rel=0.05
    )


def test_contributions_are_the_derivative_of_miou(table: Any) -> None:
    """Against mIoU with one episode weighted a little more, by the public score."""
    rng = np.random.default_rng(6)
    run = make_run(table, draw_ious(rng, 12, 2, 0.1, 0.1), np.exp(rng.normal(9, 0.5, 12)), classes=3)
    contributions = compute_contributions(run)
    assert contributions.sum() == pytest.approx(0, abs=1e-9)
    weight = 10**5
    for row in (0, 7, 23):
        inter, union = (counts * weight for counts in (run.inter, run.union))
        inter[row] += run.inter[row]
        union[row] += run.union[row]
        moved = score(run.class_ids, inter, union, run.classes).miou
        plain = score(run.class_ids, run.inter, run.union, run.classes).miou
        assert (moved - plain) * weight == pytest.approx(contributions[row], rel=1e-3, abs=1e-6)


def test_support_sets_without_any_effect(table: Any) -> None:
    ious = np.repeat(draw_ious(np.random.default_rng(7), 60, 1, 0.1, 0), 3, axis=1)
    choice = choose(table, make_run(table, ious, np.full(60, SIZE)))
    assert (choice.support_error, choice.half_width.value, choice.support_share) == pytest.approx((0, 0, 0))
    assert choice.query_error > 0


def test_folds_of_one_plan_share_their_choice_and_others_do_not(table: Any) -> None:
    rng = np.random.default_rng(8)
    ious, unions = draw_ious(rng, 80, 4, 0.1, 0.06), np.full(80, SIZE)
    alone = choose(table, make_run(table, ious, unions))
    shared = [make_run(table, ious, unions, fold=fold, plan_sha256="same") for fold in (0, 1)]
    apart = [make_run(table, ious, unions, fold=fold, plan_sha256=f"plan {fold}") for fold in (0, 1)]
    assert choose(table, *shared).half_width.value == pytest.approx(alone.half_width.value)
    assert choose(table, *apart).half_width.value == pytest.approx(alone.half_width.value / math.sqrt(2))


def test_an_unfinished_run_counts_what_it_has(table: Any) -> None:
    ious = draw_ious(np.random.default_rng(9), 100, 4, 0.1, 0.06)
    run = make_run(table, ious, np.full(100, SIZE))
    part = table.keep_episodes(run, np.arange(398))
    whole, less = choose(table, run), choose(table, part)
    assert less.half_width.value == pytest.approx(whole.half_width.value, rel=0.05)


def test_few_queries_have_no_interval(table: Any) -> None:
    run = make_run(table, draw_ious(np.random.default_rng(10), 8, 5, 0.1, 0.1), np.full(8, SIZE))
    choice = choose(table, run)
    assert "too few queries (8)" in choice.half_width.shortage
    assert math.isnan(choice.half_width.low)


def test_runs_with_one_set_have_no_support_choice(table: Any) -> None:
    assert compute_support_choices(table.make_results(table.make_run("a"))) == ()


def test_a_class_with_one_query_or_one_set_gives_no_number(table: Any) -> None:
    run = make_run(table, draw_ious(np.random.default_rng(11), 31, 2, 0.1, 0.1), np.full(31, SIZE))
    once = table.keep_episodes(run, np.arange(0, 62, 2))
    choice = choose(table, once)
    assert math.isnan(choice.half_width.value)
    assert math.isnan(choice.support_share)


def test_one_query_shows_the_choice_of_supports_alone() -> None:
    parts = decompose_variance(np.array([1.0, 3.0]), np.array([0, 0]))
    assert parts.within == 2
    assert math.isnan(parts.between)


def test_several_sets_are_no_further_queries(table: Any) -> None:
    """The interval of N equal sets is that of one: they show no further queries."""
    ious, unions = draw_ious(np.random.default_rng(12), 90, 1, 0.1, 0), np.full(90, SIZE)
    one, five = make_run(table, ious, unions), make_run(table, np.repeat(ious, 5, axis=1), unions)
    one, five = (replace(run, plan_sha256="plan") for run in (one, five))
    errors = [miou.error for miou, _ in estimate_of_runs([one, five], resamples=300)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-6)
