"""Which cells can be compared, and on which episodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fssbench.analysis.matching import Match, Refusal, comparable, differs, list_left_out, match_cells
from fssbench.analysis.row_keys import column_key, method_key
from fssbench.analysis.row_names import name_methods, with_names
from fssbench.api import UsageError


def both(table: Any, a: Any, b: Any, **named: Any) -> Any:
    (result,) = match_cells(table.make_results(a, b), named.get("shared", False), None)
    return result


def test_names_say_as_much_as_tells_methods_apart(table: Any) -> None:
    runs = [
        table.make_run("a"),
        table.make_run("b"),
        table.make_run("b", backbone="vgg16"),
        table.make_run("c", weights="x"),
        table.make_run("c", weights="y"),
        table.make_run("d", block={"config": {"width": 1}}),
        table.make_run("d", block={"config": {"width": 2}}),
    ]
    names = name_methods(map(table.make_cell, runs))
    assert [names[method_key(run)] for run in runs[:5]] == [
        "a",
        "b, resnet50",
        "b, vgg16",
        "c, x",
        "c, y",
    ]
    assert [names[method_key(run)] for run in runs[5:]] == ["d, width=1", "d, width=2"]


def test_columns_hold_what_was_measured_alike(table: Any) -> None:
    run = table.make_run()
    for change in (
        {"benchmark": "other"},
        {"shot": 5},
        {"seed": 1},
        {"protocol": "fssbench/1"},
        {"score_size": "original"},
        {"marks": ("capped (3 of 9 episodes)",)},
    ):
        assert column_key(replace(run, **change)) != column_key(run), change
    for block in ({"size": 192}, {"dataset_variant": "x"}):
        assert column_key(table.make_run(block=block)) != column_key(run)
    for change in ({"method": "b"}, {"backbone": "vgg16"}, {"fold": 2}, {"marks": ("untrained",)}):
        assert column_key(replace(run, **change)) == column_key(run), change


def test_equal_plans_can_be_compared(table: Any) -> None:
    a, b = (table.make_cell(*(table.make_run(m, fold=f) for f in range(3))) for m in "ab")
    assert differs(a, b) == ""
    result = both(table, a, b)
    assert isinstance(result, Match)
    assert [(x.fold, y.fold, x.episodes) for x, y in result.runs] == [(f, f, 120) for f in range(3)]
    assert result.note == ""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lists": "x"}, "the plans of fold 0 differ"),
        ({"fold": 1}, "folds 0 against 1"),
        ({"block": {"data_sha256": "0123456789abcdef"}}, "data_sha256 of fold 0 differs"),
        ({"block": {"engine": "2"}}, "engine of fold 0 differs (1 against 2)"),
        ({"block": {"benchmark_version": 2}}, "benchmark_version of fold 0 differs"),
        ({"block": {"absent": "exclude"}}, "absent of fold 0 differs"),
    ],
)
def test_what_differs_is_refused_by_name(table: Any, change: dict[str, Any], told: str) -> None:
    result = both(table, table.make_run("a"), table.make_run("b", **change))
    assert isinstance(result, Refusal)
    assert told in result.reason
    assert result.shareable == (change.keys() <= {"lists", "fold"})


def test_other_truth_is_no_pair(table: Any) -> None:
    b = table.make_run("b")
    result = both(table, table.make_run("a"), replace(b, target=b.target + (b.indices < 3)))
    assert result.reason == "the truth of fold 0 differs in 3 of 120 episodes"
    assert not result.shareable


def test_a_run_in_many_pairs_stays_one_run(table: Any) -> None:
    """Whoever resamples the runs of all pairs does so once per run, not once per pair."""
    results = table.make_results(
        *(table.make_run(name, skill=skill) for name, skill in zip("abcd", (0.5, 0.6, 0.7, 0.8), strict=True))
    )
    pairs = [both for match in match_cells(results, False, None) for both in match.runs]
    assert len(pairs) == 6
    assert {id(run) for both in pairs for run in both} == {id(run) for run in results.runs}


def test_incomplete_runs_meet_on_what_both_counted(table: Any) -> None:
    a, b = (table.make_run(m) for m in "ab")
    result = both(table, table.keep_episodes(a, range(100)), table.keep_episodes(b, range(0, 120, 2)))
    ((left, right),) = result.runs
    assert left.indices.tolist() == right.indices.tolist() == list(range(0, 100, 2))
    assert left.queries == right.queries
    nothing = both(table, table.keep_episodes(a, range(50)), table.keep_episodes(b, range(50, 120)))
    assert nothing.reason == "no episode of fold 0 was counted by both"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 1}, "seed 0 against 1"),
        ({"protocol": "fssbench/1"}, "protocol published/1 against fssbench/1"),
        ({"marks": ("capped (9 of 99 episodes)",)}, "cap none against capped (9 of 99 episodes)"),
        ({"score_size": "original"}, "score size input against original"),
        ({"block": {"size": 192}}, "input size 400 against 192"),
    ],
)
def test_methods_that_share_no_column_are_refused_once(table: Any, change: dict[str, Any], told: str) -> None:
    result = both(table, table.make_run("a"), table.make_run("b", **change))
    assert isinstance(result, Refusal)
    assert result.methods == ("a", "b")
    assert told in result.reason
    assert result.shareable == (not change.keys() & {"score_size", "block"})


def test_methods_that_meet_in_one_column_are_not_refused_for_the_others(table: Any) -> None:
    results = table.make_results(*(table.make_run(m, seed=s) for m, s in (("a", 0), ("a", 1), ("b", 1))))
    (result,) = match_cells(results, False, None)
    assert isinstance(result, Match)
    assert result.a.seed == result.b.seed == 1


def left_out(table: Any, *runs: Any) -> list[tuple[str, str, tuple[str, ...]]]:
    results = with_names(table.make_results(*runs))
    matched = list(match_cells(results, False, None))
    shown = [(m.a, m.b) for m in matched if isinstance(m, Match)]
    refused = [m for m in matched if isinstance(m, Refusal)]
    listed = list_left_out(results.cells, shown, refused)
    return [(each.name, each.reason, each.options) for each in listed]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"block": {"size": 192}}, ("a, 192 px", "input size 192 against 400 of b", ("--size",))),
        ({"seed": 1}, ("a, seed 1", "seed 1 against 0 of b", ("--seed",))),
        ({"block": {"batch": 8}}, ("a, batch 8", "batch 8 against 1 of b", ("--batch",))),
        (
            {"protocol": "fssbench/1"},
            ("a, fssbench/1", "protocol fssbench/1 against published/1 of b", ("--protocol",)),
        ),
    ],
)
def test_a_row_of_another_column_is_left_out_by_name(table: Any, change: dict[str, Any], named: Any) -> None:
    a, b = table.make_run("a"), table.make_run("b")
    assert left_out(table, a, table.make_run("a", **change), b) == [named]
    both_sides = (table.make_run("a", **change), table.make_run("b", **change))
    assert left_out(table, a, b, *both_sides) == []


def test_a_method_that_is_alone_on_a_benchmark_is_left_out(table: Any) -> None:
    runs = [table.make_run("a"), table.make_run("b"), table.make_run("a", benchmark="other")]
    ((name, reason, options),) = left_out(table, *runs)
    assert (name, options) == ("a", ())
    assert "only one" in reason


def test_a_refusal_explains_its_rows_alone(table: Any) -> None:
    a, b, c = table.make_run("a"), table.make_run("b"), table.make_run("c", seed=1)
    small = table.make_run("a", block={"size": 192})
    assert left_out(table, a, b, c) == []
    assert left_out(table, a, table.make_run("b", lists="x")) == []
    assert [name for name, _, _ in left_out(table, a, b, c, small)] == ["a, 192 px"]


def test_a_refusal_of_methods_that_were_measured_several_times_has_all_reasons(table: Any) -> None:
    runs = [table.make_run("a", block={"size": size}) for size in (128, 192)]
    (result,) = match_cells(table.make_results(*runs, table.make_run("b")), False, None)
    assert isinstance(result, Refusal)
    assert "input size 128 against 400" in result.reason
    assert "input size 192 against 400" in result.reason


def test_two_checkpoints_of_one_method_are_named_by_their_weights(table: Any) -> None:
    runs = [table.make_run("a", head=h) for h in ("one", "two")]
    result = both(table, *runs)
    assert set(result.methods) == {f"a, weights {run.manifest.block.head_sha256[:8]}" for run in runs}


class TestShared:
    def test_a_capped_run_meets_a_whole_one(self, table: Any) -> None:
        a, b = table.make_run("a"), table.make_run("b")
        capped = replace(
            table.keep_episodes(b, range(40)),
            plan_sha256="head of it",
            marks=("capped (40 of 120 episodes)",),
        )
        result = both(table, a, capped, shared=True)
        ((left, right),) = result.runs
        assert left.indices.tolist() == right.indices.tolist() == list(range(40))
        assert left.plan_sha256 == right.plan_sha256 != a.plan_sha256
        assert result.note == (
            "compared on 40 shared episodes of plans that differ: cap none against capped (40 of 120 episodes)"
        )

    def test_an_episode_is_the_same_wherever_it_stands(self, table: Any) -> None:
        a, b = table.make_run("a"), table.make_run("b")
        moved = table.keep_episodes(b, np.arange(120)[::-1])
        moved = replace(moved, plan_sha256="reversed", indices=np.arange(120))
        ((left, right),) = both(table, a, moved, shared=True).runs
        assert left.queries == right.queries
        assert left.target.tolist() == right.target.tolist()
        assert right.inter.tolist() == b.inter.tolist()

    @pytest.mark.parametrize("part", ["supports", "queries", "target", "class_ids"])
    def test_an_episode_that_shows_something_else_is_another(self, table: Any, part: str) -> None:
        a, b = table.make_run("a"), table.make_run("b", plan_sha256="other")
        values = getattr(b, part)
        if part in {"supports", "queries"}:
            changed: Any = ("x" if part == "queries" else ("x",), *values[1:])
        else:
            changed = np.concatenate([[(values[0] + 1) % 5], values[1:]])
        result = both(table, a, replace(b, **{part: changed}), shared=True)
        assert result.runs[0][0].indices.tolist() == list(range(1, 120))

    def test_repeated_episodes_are_shared_as_often_as_both_have_them(self, table: Any) -> None:
        a, b = table.make_run("a"), table.make_run("b")
        twice = replace(table.keep_episodes(b, [0, 0, 0, 1]), plan_sha256="twice", indices=np.arange(4))
        other = table.keep_episodes(a, [0, 0, 1, 2])
        other = replace(other, indices=np.arange(4))
        ((left, _),) = both(table, other, twice, shared=True).runs
        assert left.indices.tolist() == [0, 1, 2]

    def test_the_mean_is_over_classes_with_a_shared_episode(self, table: Any) -> None:
        a, b = table.make_run("a"), table.make_run("b", plan_sha256="other")
        kept = np.flatnonzero(b.class_ids < 2)
        ((left, right),) = both(table, a, table.keep_episodes(b, kept), shared=True).runs
        assert left.classes == right.classes == (0, 1)

    def test_folds_that_both_have(self, table: Any) -> None:
        a = table.make_cell(*(table.make_run("a", fold=f) for f in range(4)))
        b = table.make_cell(*(table.make_run("b", fold=f) for f in (1, 2)), missing=(0, 3))
        result = both(table, a, b, shared=True)
        assert [left.fold for left, _ in result.runs] == [1, 2]
        assert "240 shared episodes" in result.note
        assert "folds 0, 1, 2, 3 against 1, 2" in result.note

    def test_no_shared_episode_is_a_refusal(self, table: Any) -> None:
        result = both(table, table.make_run("a"), table.make_run("b", seed=1), shared=True)
        assert isinstance(result, Refusal)
        assert result.reason == "seed 0 against 1; they share no episode"
        assert not result.shareable

    def test_equal_plans_are_compared_whole(self, table: Any) -> None:
        result = both(table, table.make_run("a"), table.make_run("b"), shared=True)
        assert result.note == ""


def test_unknown_method_names_the_known(table: Any) -> None:
    with pytest.raises(UsageError, match=r"no run of z. Known: a, b"):
        list(match_cells(table.make_results(table.make_run("a"), table.make_run("b")), False, ["a", "z"]))


def test_methods_come_in_the_order_asked_for(table: Any) -> None:
    results = table.make_results(*(table.make_run(m) for m in "abc"))
    assert [m.methods for m in match_cells(results, False, ["c", "a"])] == [("c", "a")]
    assert [m.methods for m in match_cells(results, False, None)] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_parts_of_a_column_meet_the_same_episodes_best_first(table: Any) -> None:
    cells = [
        table.make_cell(table.make_run("low", skill=0.3)),
        table.make_cell(table.make_run("elsewhere", skill=0.9, lists="other")),
        table.make_cell(table.make_run("high", skill=0.7)),
        table.make_cell(table.make_run("more", skill=0.5), table.make_run("more", skill=0.5, fold=1)),
    ]
    named = [[cells[i].method for i in part] for part in comparable(cells)]
    assert named == [["elsewhere"], ["high", "low"], ["more"]]
    assert comparable([]) == []
