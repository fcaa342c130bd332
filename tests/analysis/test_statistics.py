"""Intervals and paired comparisons: against scipy, by hand, and by simulation."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from scipy.stats import bootstrap, norm, sem

from fssbench.analysis.statistics import (
    Sample,
    adjust_by_holm,
    compute_difference,
    estimate_of_runs,
    mean_sample,
    plan_generator,
)
from fssbench.api import Estimate, UsageError
from fssbench.evidence import Evidence
from fssbench.metrics import score


@dataclass
class Run:
    """What `estimate_of_runs` reads of a run."""

    class_ids: NDArray[np.int64]
    inter: NDArray[np.int64]
    union: NDArray[np.int64]
    classes: tuple[int, ...] = (0, 1, 2, 3, 4)
    fold: int = 0
    plan_sha256: str = "plan"
    absent_rule: str = "zero"
    indices: Any = field(default=None)
    queries: Any = field(default=None)
    whole: bool = True

    def __post_init__(self) -> None:
        n = len(self.class_ids)
        self.indices = np.arange(n) if self.indices is None else self.indices
        self.queries = tuple(f"q{i}" for i in range(n)) if self.queries is None else self.queries

    def only(self, rows: Any) -> Run:
        rows = np.asarray(rows)
        queries = tuple(self.queries[i] for i in rows)
        return Run(
            self.class_ids[rows],
            self.inter[rows],
            self.union[rows],
            self.classes,
            self.fold,
            self.plan_sha256,
            self.absent_rule,
            self.indices[rows],
            queries,
        )


def draw(seed: int, episodes: int = 300, skill: float = 0.6, noise: int | None = None, **named: Any) -> Run:
    """Episodes of a plan (`seed`); methods on it differ by `skill` and `noise`."""
    plan = np.random.default_rng(seed)
    own = np.random.default_rng([seed, 99 if noise is None else noise])
    ids = plan.integers(0, 5, episodes)
    union = plan.integers(500, 40_000, (episodes, 2))
    hard = plan.normal(0, 0.2, (episodes, 2))
    share = np.clip(skill + hard + own.normal(0, 0.05, (episodes, 2)), 0, 1)
    return Run(ids, (union * share).astype(np.int64), union, **named)


def replicates(
    class_ids: Any,
    inter: Any,
    union: Any,
    classes: Any,
    *,
    absent: str,
    clusters: Any = None,
    stream: str = "",
    **asked: Any,
) -> tuple[Sample, Sample]:
    """mIoU and FB-IoU of one run of these counts."""
    counts = [np.asarray(part, dtype=np.int64) for part in (class_ids, inter, union)]
    queries = tuple(range(len(counts[0])) if clusters is None else clusters)
    run = Run(*counts, tuple(classes), plan_sha256=stream, absent_rule=absent, queries=queries)
    return estimate_of_runs([run], **asked)[0]  # type: ignore[list-item]


def intervals(*counts: Any, **asked: Any) -> tuple[Estimate, Estimate]:
    """Their intervals."""
    miou, fb_iou = replicates(*counts, **asked)
    return miou.estimate, fb_iou.estimate


def test_the_figure_is_the_one_of_metrics() -> None:
    run = draw(0)
    miou, fb_iou = intervals(run.class_ids, run.inter, run.union, range(5), absent="zero")
    plain = score(run.class_ids, run.inter, run.union, range(5))
    assert (miou.value, fb_iou.value) == (plain.miou, plain.fb_iou)
    assert miou.low < miou.value < miou.high
    assert fb_iou.low < fb_iou.value < fb_iou.high


def test_agrees_with_scipy_where_the_figure_is_a_plain_mean() -> None:
    # one class and equal unions: the ratio of sums is the mean of per-episode IoU
    rng = np.random.default_rng(1)
    inter = np.stack([np.full(250, 500), rng.integers(0, 1001, 250)], axis=1)
    union = np.full((250, 2), 1000)
    ours = intervals(np.zeros(250), inter, union, [0], absent="zero", resamples=20_000)[0]
    theirs = bootstrap(
        (inter[:, 1] / 10,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(2)
    ).confidence_interval
    error = np.std(inter[:, 1] / 10) / np.sqrt(250)  # of the mean; ends move by about 2 % of it
    assert ours.low == pytest.approx(theirs.low, abs=0.06 * error)
    assert ours.high == pytest.approx(theirs.high, abs=0.06 * error)


def test_agrees_with_scipy_on_a_ratio_of_sums() -> None:
    run = draw(3, 200)
    one = np.zeros(200, dtype=np.int64)
    ours = intervals(one, run.inter, run.union, [0], absent="zero", resamples=20_000)[0]
    theirs = bootstrap(
        (run.inter[:, 1], run.union[:, 1]),
        lambda i, u, axis=-1: i.sum(axis) / u.sum(axis) * 100,
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(4),
    ).confidence_interval
    width = ours.high - ours.low
    assert ours.low == pytest.approx(theirs.low, abs=0.02 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.02 * width)


def test_two_episodes_by_hand() -> None:
    # resamples of {1/3, 1/2 with unions 2 and 3}: aa 1/2, ab 2/5, bb 1/3; either left out: 1/3 and 1/2
    miou, _ = replicates([0, 0], [[0, 1], [0, 1]], [[1, 2], [1, 3]], [0], absent="zero", resamples=4000)
    seen, counts = np.unique(miou.replicates.round(6), return_counts=True)
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    raw = np.repeat([100 / 3, 40.0, 50.0], counts)
    jackknife = np.sqrt(1 / 2 * ((100 / 3 - 250 / 6) ** 2 + (50 - 250 / 6) ** 2))
    assert seen == pytest.approx(40 + (np.unique(raw) - raw.mean()) * jackknife / raw.std())
    assert miou.replicates.mean() == pytest.approx(40)
    assert miou.replicates.std() == pytest.approx(25 / 3)


def test_classes_keep_their_number_of_episodes() -> None:
    # each class is constant, so that only a change of the class mix could move anything
    ids = np.array([0] * 30 + [1] * 5)
    inter = np.stack([np.ones(35), np.where(ids == 0, 9, 1)], axis=1)
    miou, _ = replicates(ids, inter, np.full((35, 2), 10), [0, 1], absent="zero")
    assert miou.value == pytest.approx(50)
    assert miou.replicates == pytest.approx(np.full(1000, 50.0))


def test_equal_seed_equal_bits_other_seed_others() -> None:
    run = draw(5)
    args = (run.class_ids, run.inter, run.union, range(5))
    first, again = (replicates(*args, absent="zero", seed=3)[0].replicates for _ in range(2))
    other = replicates(*args, absent="zero", seed=4)[0].replicates
    stream = replicates(*args, absent="zero", seed=3, stream="elsewhere")[0].replicates
    assert first.tobytes() == again.tobytes()
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, stream)


def test_many_runs_are_resampled_as_one_by_one() -> None:
    runs = [draw(5, noise=n) for n in range(4)]
    others = [
        draw(5, plan_sha256="other"),
        draw(5, absent_rule="exclude"),
        draw(5, classes=(0, 1, 2, 3, 4, 9)),
        draw(5, queries=tuple(f"q{i % 70}" for i in range(300))),
        draw(5).only(range(0, 300, 3)),
        draw(6),
        draw(5).only([0]),
    ]
    every = [runs[0], *others, *runs[1:]]
    together = estimate_of_runs(every, resamples=150, seed=2)
    for run, (miou, fb_iou) in zip(every, together, strict=True):
        alone = estimate_of_runs([run], resamples=150, seed=2)[0]
        assert (miou.value, fb_iou.value) == (alone[0].value, alone[1].value)
        assert miou.replicates.tobytes() == alone[0].replicates.tobytes()
        assert fb_iou.replicates.tobytes() == alone[1].replicates.tobytes()
    assert estimate_of_runs([]) == []


def test_global_generator_has_no_say() -> None:
    run = draw(6, 50)
    args = (run.class_ids, run.inter, run.union, range(5))
    np.random.seed(0)
    first = replicates(*args, absent="zero")[0].replicates
    np.random.seed(1)
    assert first.tobytes() == replicates(*args, absent="zero")[0].replicates.tobytes()


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False))
def test_order_of_episodes_does_not_matter(random: Any) -> None:
    run = draw(7, 60)
    rows = list(range(60))
    random.shuffle(rows)
    mixed = run.only(rows)
    assert (
        estimate_of_runs([run], resamples=50)[0][0].replicates.tobytes()
        == estimate_of_runs([mixed], resamples=50)[0][0].replicates.tobytes()
    )


def test_error_of_a_plain_mean_is_the_textbooks() -> None:
    rng = np.random.default_rng(1)
    inter = np.stack([rng.integers(0, 1001, 40), rng.integers(0, 1001, 40)], axis=1)
    ids, union = np.repeat([0, 1], 20), np.full((40, 2), 1000)
    miou, fb_iou = replicates(ids, inter, union, [0, 1], absent="zero")
    share = inter / 10
    by_class = [sem(share[ids == c, 1]) for c in (0, 1)]
    assert miou.replicates.std() == pytest.approx(np.hypot(*by_class) / 2)
    # background and foreground are averaged episode by episode, the classes keep their weight
    by_class = [sem(share[ids == c].mean(axis=1)) for c in (0, 1)]
    assert fb_iou.replicates.std() == pytest.approx(np.hypot(*by_class) / 2)
    assert (miou.replicates.mean(), fb_iou.replicates.mean()) == pytest.approx((miou.value, fb_iou.value))


def test_error_of_a_ratio_is_the_jackknifes() -> None:
    run = draw(3, 90, queries=tuple(f"q{i % 40}" for i in range(90)))
    miou, _ = estimate_of_runs([run])[0]
    variance = 0.0
    for c in range(5):
        mine = run.class_ids == c
        queries = sorted({q for q, m in zip(run.queries, mine, strict=True) if m})
        left = []
        for query in queries:
            rows = mine & (np.array(run.queries) != query)
            left.append(100 * run.inter[rows, 1].sum() / run.union[rows, 1].sum())
        variance += (len(left) - 1) * np.var(left)
    assert miou.replicates.std() == pytest.approx(np.sqrt(variance) / 5)


def test_a_class_that_one_cluster_shows_is_kept_where_absent_ones_are_left_out() -> None:
    inter, union = np.array([[9, 6], [9, 0], [9, 5], [9, 4]]), np.array([[9, 8], [9, 0], [9, 9], [9, 9]])
    miou, _ = replicates([0, 0, 1, 1], inter, union, [0, 1], absent="exclude", resamples=500)
    left = np.array([500 / 9, 400 / 9])
    assert np.nanstd(miou.replicates) == pytest.approx(np.sqrt(np.var(left)) / 2)


def test_intervals_stay_within_a_hundred_percent() -> None:
    inter, union = np.array([[9, 9]] * 40 + [[9, 1]]), np.array([[9, 9]] * 40 + [[9, 90]])
    miou, _ = intervals([0] * 41, inter, union, [0], absent="zero")
    assert 0 <= miou.low < miou.value < miou.high <= 100


def test_repeated_queries_widen_the_interval() -> None:
    run = draw(8, 150)
    rows = np.repeat(np.arange(150), 4)  # every query four times: four times the episodes, no more news
    ids, inter, union = run.class_ids[rows], run.inter[rows], run.union[rows]
    alone = intervals(run.class_ids, run.inter, run.union, range(5), absent="zero")[0]
    naive = intervals(ids, inter, union, range(5), absent="zero")[0]
    honest = intervals(ids, inter, union, range(5), absent="zero", clusters=rows.tolist())[0]
    assert honest.high - honest.low == pytest.approx(alone.high - alone.low, rel=0.01)
    assert naive.high - naive.low == pytest.approx((alone.high - alone.low) / 2, rel=0.15)


def test_a_query_of_two_classes_is_a_cluster_in_each() -> None:
    inter, union = np.array([[1, 1], [1, 4], [1, 2], [1, 3]]), np.full((4, 2), 10)
    miou, _ = replicates([0, 1, 0, 1], inter, union, [0, 1], absent="zero", clusters=["a", "a", "b", "b"])
    assert len(np.unique(miou.replicates.round(9))) > 3  # the two classes vary on their own


@pytest.mark.parametrize(("absent", "figure"), [("zero", 25.0), ("exclude", 50.0)])
def test_absent_class_follows_the_rule_of_the_figure(absent: Any, figure: float) -> None:
    inter, union = np.tile([1, 5], (20, 1)), np.tile([10, 10], (20, 1))
    miou, _ = replicates(np.zeros(20), inter, union, [0, 7], absent=absent)
    assert miou.value == pytest.approx(figure)
    assert miou.replicates == pytest.approx(np.full(1000, figure))


def test_no_episode_is_nan_not_zero() -> None:
    miou, fb_iou = intervals([], np.empty((0, 2)), np.empty((0, 2)), [0, 1], absent="zero")
    assert np.isnan([miou.value, miou.low, miou.high, fb_iou.value, fb_iou.low, fb_iou.high]).all()


def test_one_episode_has_a_figure_and_no_interval() -> None:
    miou, fb_iou = intervals([0], [[2, 1]], [[4, 4]], [0], absent="zero")
    assert (miou.value, fb_iou.value) == (25.0, 37.5)
    assert np.isnan([miou.low, miou.high, fb_iou.low, fb_iou.high]).all()


def test_blocks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    run = draw(9, 80)
    args = (run.class_ids, run.inter, run.union, range(5))
    whole = replicates(*args, absent="zero", resamples=100)[0].replicates
    monkeypatch.setattr("fssbench.analysis.resampling._BLOCK", 100)
    assert whole.tobytes() == replicates(*args, absent="zero", resamples=100)[0].replicates.tobytes()


def test_a_class_outside_the_fold_is_named() -> None:
    with pytest.raises(UsageError, match="classes"):
        replicates([0, 9], [[1, 1]] * 2, [[2, 2]] * 2, [0], absent="zero")


def test_mean_over_folds_averages_figures_and_replicates() -> None:
    a, b = Sample(60.0, np.array([59.0, 61.0])), Sample(40.0, np.array([41.0, 39.0]))
    mean = mean_sample([a, b])
    assert mean.value == 50.0
    assert mean.replicates.tolist() == [50.0, 50.0]
    assert mean_sample([a]).estimate.value == 60.0


def test_mean_over_independent_folds_is_surer_than_one() -> None:
    folds = [estimate_of_runs([draw(s, plan_sha256=f"plan{s}")])[0][0] for s in range(4)]
    widths = [s.estimate.high - s.estimate.low for s in folds]
    mean = mean_sample(folds).estimate
    assert mean.high - mean.low == pytest.approx(np.mean(widths) / 2, rel=0.12)


def test_mean_over_folds_that_share_episodes_gains_nothing() -> None:
    # four models on the same test episodes err together (COCO-20i to FSS-1000)
    folds = [estimate_of_runs([draw(11, fold=f)])[0][0] for f in range(4)]
    mean, one = mean_sample(folds).estimate, folds[0].estimate
    assert mean.high - mean.low == pytest.approx(one.high - one.low, rel=1e-9)


def test_mean_refuses_what_does_not_belong_together() -> None:
    with pytest.raises(UsageError, match="at least one"):
        mean_sample([])
    with pytest.raises(UsageError, match="resampled"):
        mean_sample([Sample(1.0, np.zeros(2)), Sample(1.0, np.zeros(3))])
    assert np.isnan(mean_sample([Sample(1.0, np.zeros(2)), Sample(2.0, np.empty(0))]).estimate.low)


def test_no_replicates_no_verdict() -> None:
    gap = compute_difference(Sample(60.0, np.empty(0)), Sample(10.0, np.empty(0)))
    assert gap.value == 50.0
    assert np.isnan([gap.low, gap.high, gap.p, gap.error]).all()


ENOUGH = Evidence({("plan", 0): frozenset(range(100))})


def test_too_few_queries_on_either_side_leave_the_difference_alone() -> None:
    few = Evidence({("plan", 0): frozenset(range(8))})
    much, little = Sample(60.0, np.full(99, 60.0), ENOUGH), Sample(10.0, np.full(99, 10.0), few)
    for gap in (compute_difference(much, little), compute_difference(little, much)):
        assert abs(gap.value) == 50.0
        assert np.isnan([gap.low, gap.high, gap.p, gap.error]).all()
        assert gap.shortage == "too few queries (8)"
    assert little.estimate.shortage == "too few queries (8)"
    assert np.isnan([little.estimate.low, little.estimate.high, little.error]).all()


def test_p_counts_the_figure_itself() -> None:
    gap = compute_difference(Sample(2.0, np.arange(1.0, 100.0), ENOUGH), Sample(0.0, np.zeros(99), ENOUGH))
    assert gap.p == pytest.approx(2 / 100)


def test_a_resample_without_a_figure_counts_on_neither_side() -> None:
    some = np.where(np.arange(99) < 49, np.nan, np.arange(99.0))
    gap = compute_difference(Sample(70.0, some, ENOUGH), Sample(0.0, np.zeros(99), ENOUGH))
    shorter = compute_difference(Sample(70.0, some[49:], ENOUGH), Sample(0.0, np.zeros(50), ENOUGH))
    assert (gap.p, gap.low, gap.error) == (shorter.p, shorter.low, shorter.error)


def test_a_verdict_and_the_interval_agree() -> None:
    """Whenever p is 5 % or less, 0 lies outside the interval: no second rule is needed."""
    draw = np.random.default_rng(0)
    for _ in range(300):
        gaps = draw.normal(draw.normal(2, 0.3), 1, int(draw.integers(20, 300)))
        gap = compute_difference(Sample(2.0, gaps, ENOUGH), Sample(0.0, np.zeros(len(gaps)), ENOUGH))
        assert gap.p > 0.05 or gap.low > 0 or gap.high < 0


def test_p_beyond_the_resamples_is_that_of_a_normal_tail() -> None:
    gaps = np.random.default_rng(0).normal(4, 1, 500)
    zeros = Sample(0.0, np.zeros(500), ENOUGH)
    gap = compute_difference(Sample(4.0, gaps, ENOUGH), zeros)
    assert gap.p == pytest.approx(2 * norm.sf(4 / gaps.std()))
    assert gap.p < 2 / 501
    assert compute_difference(Sample(40.0, gaps + 36, ENOUGH), zeros).p == 1e-6
    assert compute_difference(Sample(1.0, np.ones(9), ENOUGH), Sample(0.0, np.zeros(9), ENOUGH)).p == 0.2


def test_holm_by_hand_and_with_gaps() -> None:
    assert adjust_by_holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    adjusted = adjust_by_holm([0.5, float("nan"), 0.9])
    assert adjusted[0] == 1.0
    assert np.isnan(adjusted[1])
    assert adjust_by_holm([]) == []


def test_thousand_resamples_of_thousand_episodes_are_quick() -> None:
    run = draw(17, 1000)
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        intervals(run.class_ids, run.inter, run.union, range(5), absent="zero", clusters=run.queries)
        best = min(best, time.process_time() - start)
    assert best < 0.3


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    population = draw(18, 50_000)
    truth = score(population.class_ids, population.inter, population.union, range(5)).miou
    by_class = [np.flatnonzero(population.class_ids == c) for c in range(5)]
    rng = np.random.default_rng(19)
    hits = 0
    for trial in range(2000):
        rows = np.concatenate([rng.choice(ids, 60) for ids in by_class])
        miou, _ = intervals(
            population.class_ids[rows],
            population.inter[rows],
            population.union[rows],
            range(5),
            absent="zero",
            resamples=400,
            seed=trial,
        )
        hits += miou.low <= truth <= miou.high
    assert 0.93 <= hits / 2000 <= 0.97


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_equal_methods_are_told_apart_as_rarely_as_claimed() -> None:
    result = 0
    for s in range(2000):
        (a, _), (b, _) = estimate_of_runs([draw(s, 300, noise=n) for n in (1, 2)], resamples=400, seed=s)
        result += compute_difference(a, b).p <= 0.05
    assert 0.03 <= result / 2000 <= 0.07


@given(
    n=st.integers(1, 90), parts=st.lists(st.integers(1, 40), min_size=2, max_size=6), seed=st.integers(0, 9)
)
def test_draws_made_in_parts_are_those_made_at_once(n: int, parts: list[int], seed: int) -> None:
    """Figures do not depend on how many draws are held in memory at once."""
    whole = plan_generator(seed, "plan").integers(0, n, size=(sum(parts), n))
    rng = plan_generator(seed, "plan")
    assert np.array_equal(whole, np.concatenate([rng.integers(0, n, size=(rows, n)) for rows in parts]))
