"""Pairs, wins, ranks and seeds: by hand, against scipy, and by the laws they keep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from scipy.stats import friedmanchisquare

from fssbench.analysis import paired
from fssbench.analysis.comparisons import (
    compare_pairs,
    compute_differences,
    count_outcomes,
    estimate_seed_spread,
    list_refusals,
    rank_methods,
    turn_pair,
    verdicts,
)
from fssbench.analysis.exchange import exchange_p
from fssbench.analysis.statistics import adjust_by_holm, compute_difference, estimate_of_runs
from fssbench.api import UsageError
from fssbench.evidence import TOO_FEW
from fssbench.metrics import score

FEW = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def miou(run: Any) -> float:
    return score(run.class_ids, run.inter, run.union, run.classes).miou


def family(table: Any, **named: Any) -> Any:
    """Three methods on two benchmarks at one and five shots."""
    skills = {"a": 0.7, "b": 0.6, "c": 0.6}
    return table.make_results(
        *(
            table.make_run(m, bench, shot=shot, skill=skill, **named)
            for m, skill in skills.items()
            for bench in ("x", "y")
            for shot in (1, 5)
        )
    )


def test_a_pair_by_hand(table: Any) -> None:
    a, b = (table.make_run(m, skill=s) for m, s in (("a", 0.66), ("b", 0.60)))
    (pair,) = compare_pairs(table.make_results(a, b), resamples=400, seed=3)
    samples = [estimate_of_runs([run], resamples=400, seed=3)[0][0] for run in (a, b)]
    (exchanged,) = exchange_p([[(a, b)]], draws=400, seed=3)
    gap = compute_difference(*samples)
    assert pair.difference == replace(gap, p=max(gap.p, exchanged))
    assert pair.difference.value == pytest.approx(miou(a) - miou(b))
    assert pair.adjusted == pair.difference.p
    assert (pair.benchmark, pair.shot, pair.seed, pair.protocol) == ("bench", 1, 0, "published/1")
    assert (pair.a.label, pair.b.label, pair.methods) == ("a", "b", ("a", "b"))
    assert (pair.episodes, pair.note) == (120, "")
    assert pair.outcome == "win"


def test_resamples_and_seed_are_those_of_the_results(table: Any) -> None:
    """What a report says and what `compare` says rest on the same draws: never fewer than 10,000."""
    results = table.make_results(table.make_run("a"), table.make_run("b"), resamples=150)
    assert compare_pairs(results) == compare_pairs(results, resamples=10_000, seed=0)
    assert compare_pairs(results) != compare_pairs(results, seed=1)
    assert compare_pairs(replace(results, resamples=12_000)) == compare_pairs(results, resamples=12_000)
    assert compare_pairs(results, resamples=150)[0].resamples == 150


def test_every_pair_of_every_column_and_a_family_a_benchmark_and_shot(table: Any) -> None:
    result = compare_pairs(family(table))
    assert [(p.benchmark, p.shot, p.methods) for p in result] == [
        (bench, shot, couple)
        for bench in ("x", "y")
        for shot in (1, 5)
        for couple in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    for start in range(0, len(result), 3):
        mine = result[start : start + 3]
        assert [p.adjusted for p in mine] == adjust_by_holm([p.difference.p for p in mine])
        assert {p.family for p in mine} == {3}
    assert all(p.adjusted >= p.difference.p for p in result)
    assert {p.outcome for p in result if "a" in p.methods} == {"win"}


def test_another_benchmark_or_shot_changes_no_verdict(table: Any) -> None:
    results = family(table)
    here = tuple(c for c in results.cells if (c.benchmark, c.shot) == ("x", 1))
    assert compare_pairs(replace(results, cells=here)) == compare_pairs(results)[:3]


def many(table: Any) -> Any:
    """Eight methods, one of them a little better."""
    skills = {"a": 0.621, **{f"c{k}": 0.6 for k in range(7)}}
    return table.make_results(*(table.make_run(m, skill=s) for m, s in skills.items()))


def test_holm_can_turn_a_win_into_a_tie(table: Any) -> None:
    results = many(table)
    lost = []
    for p in compare_pairs(results):
        (alone,) = compare_pairs(replace(results, cells=(p.a, p.b)))
        assert (alone.difference, alone.family, p.family) == (p.difference, 1, 28)
        if p.outcome != alone.outcome:
            lost.append(p)
            assert p.difference.p <= 0.05 < p.adjusted
            assert p.outcome == "tie"
    assert lost


def test_the_family_is_that_of_all_methods_whichever_are_asked_for(table: Any) -> None:
    results = many(table)
    every = {p.methods: p for p in compare_pairs(results)}
    for two in (("a", "c3"), ("c0", "c6")):
        assert compare_pairs(results, methods=two) == (every[two],)
        (back,) = compare_pairs(results, methods=two[::-1])
        assert (back.methods, back.adjusted, back.family) == (two[::-1], every[two].adjusted, 28)
    three = compare_pairs(results, methods=["c1", "a", "c0"])
    assert [p.methods for p in three] == [("c1", "a"), ("c1", "c0"), ("a", "c0")]


def test_verdicts_are_the_pairs_from_both_sides(table: Any) -> None:
    results = many(table)
    both = verdicts(results)
    for p in compare_pairs(results):
        there, back = both[id(p.a), id(p.b)], both[id(p.b), id(p.a)]
        assert there == p
        assert (back.a, back.b, back.adjusted) == (p.b, p.a, p.adjusted)
        assert back.difference.value == -p.difference.value
        assert (back.difference.low, back.difference.high) == (-p.difference.high, -p.difference.low)
        assert turn_pair(back) == p
    assert len(both) == 2 * 28


def test_each_run_is_resampled_once(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    plain = paired.estimate_miou_of_runs

    def counting(runs: Any, **named: Any) -> Any:
        asked.append(len(runs))
        return plain(runs, **named)

    monkeypatch.setattr(paired, "estimate_miou_of_runs", counting)
    monkeypatch.setattr(paired, "_pairs", {})
    compare_pairs(family(table))
    assert asked == [3, 3, 3, 3]
    compare_pairs(family(table))
    assert sum(asked) == 12, "asked again, the draws are known"


def test_folds_are_averaged(table: Any) -> None:
    cells = [table.make_cell(*(table.make_run(m, fold=f) for f in range(3))) for m in "ab"]
    (pair,) = compare_pairs(table.make_results(*cells))
    by_fold = [miou(cells[0].folds[f]) - miou(cells[1].folds[f]) for f in range(3)]
    assert pair.difference.value == pytest.approx(np.mean(by_fold))
    assert pair.episodes == 360


def test_pairing_is_much_sharper_than_two_intervals(table: Any) -> None:
    a, b = (table.make_run(m, episodes=500) for m in "ab")
    (pair,) = compare_pairs(table.make_results(a, b))
    alone = estimate_of_runs([a])[0][0].estimate
    assert pair.difference.high - pair.difference.low < (alone.high - alone.low) / 2


@FEW
@given(st.integers(0, 1000), st.floats(0.4, 0.7))
def test_pairs_are_antisymmetric(table: Any, seed: int, skill: float) -> None:
    results = table.make_results(table.make_run("a", seed=seed), table.make_run("b", seed=seed, skill=skill))
    (there,), (back,) = compare_pairs(results, methods=["a", "b"]), compare_pairs(results, methods=["b", "a"])
    mirrored = (-back.difference.value, -back.difference.high, -back.difference.low)
    assert (there.difference.value, there.difference.low, there.difference.high) == pytest.approx(mirrored)
    assert there.difference.p == back.difference.p
    assert {"win": "loss", "tie": "tie", "loss": "win"}[there.outcome] == back.outcome


@FEW
@given(st.randoms(use_true_random=False))
def test_order_of_cells_and_episodes_does_not_matter(table: Any, random: Any) -> None:
    runs = [table.make_run(m, b) for m in "abc" for b in ("x", "y")]
    first = compare_pairs(table.make_results(*runs))
    mixed = []
    for run in runs:
        rows = list(range(run.episodes))
        random.shuffle(rows)
        mixed.append(table.keep_episodes(run, sorted(rows)))
    random.shuffle(mixed)
    again = compare_pairs(table.make_results(*mixed))
    assert [(p.methods, p.difference, p.adjusted) for p in first] == [
        (p.methods, p.difference, p.adjusted) for p in again
    ]


def test_a_method_against_its_own_copy(table: Any) -> None:
    run = table.make_run("a")
    copy = replace(run, method="b", label="b", identity="copy")
    (pair,) = compare_pairs(table.make_results(run, copy))
    gap = pair.difference
    assert (gap.value, gap.low, gap.high, gap.p, pair.outcome) == (0, 0, 0, 1, "tie")


def test_incomplete_runs_are_compared_on_the_episodes_both_counted(table: Any) -> None:
    a, b = table.make_run("a"), table.make_run("b")
    half = np.arange(0, 120, 2)
    (short,) = compare_pairs(table.make_results(a, table.keep_episodes(b, half)))
    (both,) = compare_pairs(table.make_results(table.keep_episodes(a, half), table.keep_episodes(b, half)))
    assert short.difference == both.difference
    assert short.episodes == 60


def test_one_episode_gives_no_verdict(table: Any) -> None:
    (pair,) = compare_pairs(table.make_results(*(table.keep_episodes(table.make_run(m), [0]) for m in "ab")))
    assert (pair.outcome, pair.family) == (TOO_FEW, 0)
    assert pair.difference.shortage == "too few queries (1)"


@pytest.mark.parametrize(("queries", "outcome"), [(2, TOO_FEW), (12, TOO_FEW), (20, TOO_FEW), (21, "win")])
def test_few_queries_decide_nothing_even_where_all_agree(table: Any, queries: int, outcome: str) -> None:
    runs = (table.make_run(m, skill=s, episodes=queries, classes=1) for m, s in (("a", 0.8), ("b", 0.3)))
    (pair,) = compare_pairs(table.make_results(*runs))
    assert (pair.queries, pair.outcome) == (queries, outcome)
    assert np.isnan(pair.adjusted) == np.isnan(pair.difference.low) == (outcome == TOO_FEW)
    assert (pair.difference.shortage == "") == (outcome == "win")


def test_asking_again_makes_no_queries_more(table: Any) -> None:
    runs = (
        table.make_run(m, skill=s, episodes=200, queries=20, classes=1) for m, s in (("a", 0.8), ("b", 0.3))
    )
    (pair,) = compare_pairs(table.make_results(*runs))
    assert (pair.episodes, pair.queries, pair.outcome) == (200, 20, TOO_FEW)


@pytest.mark.parametrize("episodes", [5, 30])
def test_folds_that_share_their_episodes_make_no_queries_more(table: Any, episodes: int) -> None:
    once = [table.make_run(m, skill=s, episodes=episodes, classes=1) for m, s in (("a", 0.8), ("b", 0.3))]
    often = [table.make_cell(*(replace(run, fold=fold) for fold in range(4))) for run in once]
    (one,), (four,) = compare_pairs(table.make_results(*once)), compare_pairs(table.make_results(*often))
    assert (one.episodes, four.episodes, one.queries, four.queries) == (episodes,) * 4
    assert (four.difference.value, four.difference.shortage) == (
        one.difference.value,
        one.difference.shortage,
    )
    assert four.outcome == one.outcome


def test_pairs_with_too_few_queries_have_no_place_in_the_family(table: Any) -> None:
    a, b, c = (table.make_run(m, skill=s) for m, s in (("a", 0.66), ("b", 0.6), ("c", 0.6)))
    results = table.make_results(a, b, table.keep_episodes(c, range(10)))
    outcomes = {p.methods: (p.outcome, p.family) for p in compare_pairs(results)}
    assert outcomes == {("a", "b"): ("win", 1), ("a", "c"): (TOO_FEW, 1), ("b", "c"): (TOO_FEW, 1)}
    assert [(t.methods, t.undecided) for t in count_outcomes(compare_pairs(results))] == [
        (("a", "b"), 0),
        (("a", "c"), 1),
        (("b", "c"), 1),
    ]


def test_capped_alike_methods_are_compared_on_the_same_classes(table: Any) -> None:
    """One predicts nothing where the truth is empty, the other something: the class counts for both."""
    a, b = (table.keep_episodes(table.make_run(m), range(60)) for m in "ab")
    last = a.class_ids == 4
    silent, loud = a.union.copy(), b.union.copy()
    silent[last, 1], loud[last, 1] = 0, 50
    none = np.where(last[:, None], 0, a.inter)
    a, b = (
        replace(a, union=silent, inter=none),
        replace(b, union=loud, inter=np.where(last[:, None], 0, b.inter)),
    )
    (pair,) = compare_pairs(table.make_results(a, b))
    rest = [score(r.class_ids[~last], r.inter[~last], r.union[~last], range(4)).miou for r in (a, b)]
    assert pair.figures == pytest.approx(tuple(4 / 5 * figure for figure in rest))


def test_unfinished_runs_are_compared_on_the_classes_that_both_met(table: Any) -> None:
    a, b = table.make_run("a"), table.make_run("b")
    few = np.flatnonzero(a.class_ids < 2)
    (pair,) = compare_pairs(table.make_results(a, table.keep_episodes(b, few)))
    plain = [score(r.class_ids[few], r.inter[few], r.union[few], [0, 1]).miou for r in (a, b)]
    assert pair.figures == pytest.approx(tuple(plain))
    assert pair.difference.shortage == ""


def test_what_is_not_compared_is_named(table: Any) -> None:
    results = table.make_results(table.make_run("a"), table.make_run("b", lists="x"), table.make_run("c"))
    assert [p.methods for p in compare_pairs(results)] == [("a", "c")]
    assert [r.methods for r in list_refusals(results)] == [("a", "b"), ("b", "c")]
    assert all("the plans of fold 0 differ" in r.reason for r in list_refusals(results))


def test_shared_episodes_when_asked(table: Any) -> None:
    a, b = table.make_run("a"), table.make_run("b")
    other = replace(table.keep_episodes(b, range(50)), plan_sha256="other")
    results = table.make_results(a, other)
    assert compare_pairs(results) == ()
    assert list_refusals(results, shared=True) == ()
    (pair,) = compare_pairs(results, shared=True)
    assert pair.episodes == 50
    assert pair.note.startswith("compared on 50 shared episodes of plans that differ: the plans of fold 0")
    (plain,) = compare_pairs(
        table.make_results(table.keep_episodes(a, range(50)), table.keep_episodes(b, range(50)))
    )
    assert pair.difference.value == pytest.approx(plain.difference.value)


def test_differences_of_cells(table: Any) -> None:
    a, b = (table.make_cell(table.make_run(m)) for m in "ab")
    assert (
        compute_differences([(a, b)], resamples=10_000)[0]
        == compare_pairs(table.make_results(a, b))[0].difference
    )
    other = table.make_cell(table.make_run("b", lists="x"))
    with pytest.raises(UsageError, match="a and b on bench cannot be paired: the plans of fold 0"):
        compute_differences([(a, other)])
    with pytest.raises(UsageError, match="different columns"):
        compute_differences([(a, table.make_cell(table.make_run("b", shot=5)))])


class TestTally:
    def test_counts_outcomes_from_the_firsts_side(self, table: Any) -> None:
        result = compare_pairs(family(table))
        assert [(t.methods, t.wins) for t in count_outcomes(result)][:2] == [(("a", "b"), 4), (("a", "c"), 4)]
        for t in count_outcomes(result):
            mine = [p.outcome for p in result if p.methods == t.methods]
            assert (t.wins, t.ties, t.losses) == tuple(map(mine.count, ("win", "tie", "loss")))

    def test_turned_pairs_count_for_the_same_two(self, table: Any) -> None:
        results = table.make_results(*(table.make_run(m, skill=s) for m, s in (("a", 0.8), ("b", 0.5))))
        (t,) = count_outcomes(
            [*compare_pairs(results, methods=["a", "b"]), *compare_pairs(results, methods=["b", "a"])]
        )
        assert (t.methods, t.wins, t.ties, t.losses) == (("a", "b"), 2, 0, 0)

    def test_two_checkpoints_of_a_method_are_counted_apart(self, table: Any) -> None:
        results = table.make_results(*(table.make_run("a", head=h) for h in "xy"), table.make_run("b"))
        counts = count_outcomes(compare_pairs(results))
        assert len({name for t in counts for name in t.methods}) == 3
        assert [t.wins + t.ties + t.losses for t in counts] == [1, 1, 1]


class TestRanking:
    def table(self, table: Any, blocks: int = 6, **named: Any) -> Any:
        skills = {"a": 0.7, "b": 0.6, "c": 0.6, "d": 0.4}
        return table.make_results(
            *(
                table.make_run(m, f"bench{k}", skill=skill, noise=0.2, **named)
                for m, skill in skills.items()
                for k in range(blocks)
            )
        )

    def test_against_scipy(self, table: Any) -> None:
        results = self.table(table)
        result = rank_methods(results)
        figures = np.array(
            [
                [miou(r) for r in results.runs if (r.method, r.benchmark) == (m, f"bench{k}")]
                for m in "abcd"
                for k in range(6)
            ]
        ).reshape(4, 6)
        assert result.friedman == pytest.approx(friedmanchisquare(*figures).pvalue)
        by_hand = dict(
            zip("abcd", (np.argsort(np.argsort(-figures, axis=0), axis=0) + 1).mean(1), strict=True)
        )
        assert dict(zip(result.methods, result.ranks, strict=True)) == pytest.approx(by_hand)
        assert list(result.ranks) == sorted(result.ranks)
        assert result.blocks == tuple((f"bench{k}", 1) for k in range(6))
        assert result.critical == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 6)), abs=1e-3)
        assert result.reason == ""
        assert any({"b", "c"} <= set(group) for group in result.groups)
        assert not any({"a", "d"} <= set(group) for group in result.groups)

    def test_a_block_needs_every_method_on_the_same_episodes(self, table: Any) -> None:
        whole = self.table(table, 3)
        extra = [table.make_run(m, "more") for m in "abc"]
        other = [table.make_run(m, "odd", lists="x" if m == "b" else "") for m in "abcd"]
        results = table.make_results(*whole.runs, *extra, *other)
        assert rank_methods(results).blocks == rank_methods(whole).blocks
        assert (
            len(rank_methods(table.make_results(*(r for r in results.runs if r.method != "b"))).blocks) == 4
        )

    def test_a_block_needs_enough_queries(self, table: Any) -> None:
        whole = self.table(table, 3)
        few = [table.make_run(m, "few", episodes=20) for m in "abcd"]
        assert rank_methods(table.make_results(*whole.runs, *few)).blocks == rank_methods(whole).blocks

    def test_seeds_of_a_benchmark_are_one_block(self, table: Any) -> None:
        results = [self.table(table, 2, seed=s) for s in range(3)]
        result = rank_methods(table.make_results(*(run for r in results for run in r.runs)))
        assert result.blocks == (("bench0", 1), ("bench1", 1))

    def test_why_there_is_none(self, table: Any) -> None:
        two = rank_methods(table.make_results(*(r for r in self.table(table).runs if r.method in "ab")))
        assert two.reason == "a ranking needs three methods or more; there are 2"
        assert (two.ranks, two.groups) == ((), ())
        one = rank_methods(self.table(table, 1))
        assert "two benchmarks or shots on which all 4 methods were measured" in one.reason
        assert one.reason.endswith("there is 1")


class TestSeeds:
    def test_episode_seeds(self, table: Any) -> None:
        results = table.make_results(*(table.make_run("a", seed=s) for s in range(4)))
        (result,) = estimate_seed_spread(results)
        figures = [miou(run) for run in results.runs]
        assert (result.kind, result.method, len(result.cells)) == ("episodes", "a", 4)
        assert result.mean == pytest.approx(np.mean(figures))
        assert result.between == pytest.approx(np.std(figures, ddof=1))
        errors = [np.std(estimate_of_runs([run], resamples=200)[0][0].replicates) for run in results.runs]
        assert result.within == pytest.approx(np.sqrt(np.mean(np.square(errors))))

    def test_training_seeds(self, table: Any) -> None:
        results = table.make_results(*(table.make_run("a", head=f"h{s}") for s in range(3)))
        (result,) = estimate_seed_spread(results)
        assert (result.kind, len(result.cells)) == ("training", 3)
        assert result.between < result.within, "same episodes: only the weights move the figure"

    def test_both_apart_where_crossed(self, table: Any) -> None:
        crossed = [table.make_run("a", head=h, seed=s) for h in "xy" for s in (0, 1)]
        kinds = [(s.kind, len(s.cells)) for s in estimate_seed_spread(table.make_results(*crossed))]
        assert kinds == [("episodes", 2), ("episodes", 2), ("training", 2), ("training", 2)]

    def test_both_at_once_cannot_be_told_apart(self, table: Any) -> None:
        (result,) = estimate_seed_spread(
            table.make_results(*(table.make_run("a", head=f"h{s}", seed=s) for s in range(3)))
        )
        assert (result.kind, len(result.cells)) == ("both", 3)

    @pytest.mark.parametrize(
        "change", [{"block": {"source_sha256": "x"}}, {"shot": 5}, {"lists": "x"}, {"backbone": "vgg16"}]
    )
    def test_what_else_differs_is_no_seed(self, table: Any, change: dict[str, Any]) -> None:
        assert (
            estimate_seed_spread(table.make_results(table.make_run("a"), table.make_run("a", **change))) == ()
        )

    def test_methods_measured_once_have_none(self, table: Any) -> None:
        assert estimate_seed_spread(family(table)) == ()
