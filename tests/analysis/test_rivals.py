"""Methods compete with those that read the same; bounds compete with nobody; pretraining is told apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fssbench.methods.copies import AllForeground, CopyMask
from fssbench.reports.content.best_and_ties import find_best_and_tied

from fssbench.analysis.rivals import (
    NO_NETWORK,
    PRETRAINING_NOT_RECORDED,
    describe_pretraining,
    explain_pretraining,
    group_rivals,
    name_weights,
    order_of_rivals,
    stands_apart,
)
from fssbench.api import Cell, Mark, MarkKind, RunResult
from fssbench.contracts.method_card import BOUND

MORE = Mark(MarkKind.MORE_INFORMATION, "class name")


def change_context(run: RunResult, **values: Any) -> RunResult:
    context = run.manifest.context.changed(**values)
    return replace(run, manifest=run.manifest.changed(context=context))


def make_cell(table: Any, name: str, skill: float, *, marks: tuple[Mark, ...] = (), **context: Any) -> Cell:
    """A cell of two folds on 'resnet50'."""
    runs = [
        change_context(replace(table.make_run(name, skill=skill, fold=fold), marks=marks), **context)
        for fold in (0, 1)
    ]
    return replace(table.make_cell(*runs), marks=marks)


def test_a_bound_is_never_the_best_and_a_method_that_reads_more_is_no_rival(table: Any) -> None:
    cells = (
        make_cell(table, "bound", 0.9, kind=BOUND),
        make_cell(table, "named", 0.95, marks=(MORE,)),
        make_cell(table, "good", 0.7),
        make_cell(table, "poor", 0.3),
    )
    results = table.make_results(*cells)
    assert {
        results.cells[n].method for (n, _), place in find_best_and_tied(results).items() if place == "best"
    } == {"good"}
    assert group_rivals(dict(enumerate(cells))) == [[1], [2, 3]]
    assert [stands_apart(cell) for cell in cells] == [True, True, False, False]
    assert [c.method for c in sorted(cells, key=order_of_rivals)] == ["good", "poor", "named", "bound"]


def test_methods_that_read_the_same_more_compete(table: Any) -> None:
    cells = [make_cell(table, name, skill, marks=(MORE,)) for name, skill in (("a", 0.8), ("b", 0.3))]
    places = find_best_and_tied(table.make_results(*cells))
    assert {n for (n, _), place in places.items() if place == "best"} == {0}


def test_the_built_in_bounds_are_bounds() -> None:
    assert {cls.card.kind for cls in (AllForeground, CopyMask)} == {BOUND}


def test_pretraining_is_what_the_run_recorded(table: Any) -> None:
    run = table.make_run("a")
    assert describe_pretraining(run) == PRETRAINING_NOT_RECORDED
    assert name_weights(run) == run.weights
    for recorded, said in (
        ({"backbone": "ImageNet-1K"}, "ImageNet-1K"),
        ({"backbone": "LVD-142M", "segmenter": "SA-1B"}, "backbone: LVD-142M; segmenter: SA-1B"),
        ({"own weights": "not stated"}, "own weights: not stated"),
        ({}, NO_NETWORK),
    ):
        changed = change_context(run, pretraining=recorded)
        assert describe_pretraining(changed) == said
        assert (said in name_weights(changed)) is (said != NO_NETWORK)


def test_rows_that_differ_in_pretraining_are_named(table: Any) -> None:
    one, same, other = (
        make_cell(table, name, 0.5, pretraining={"backbone": seen})
        for name, seen in (("a", "ImageNet-1K"), ("b", "ImageNet-1K"), ("c", "LVD-142M"))
    )
    assert explain_pretraining([one, same], ["a", "b"]) == ""
    without = make_cell(table, "d", 0.5, pretraining={})
    assert explain_pretraining([one, without], ["a", "d"]) == ""
    text = explain_pretraining([one, same, other], ["a", "b", "c"])
    assert "ImageNet-1K (a, b)" in text
    assert "LVD-142M (c)" in text
