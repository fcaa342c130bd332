"""What counts as a query, and that one rule decides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from fssbench.evidence import (
    Evidence,
    collect_evidence,
    count_queries,
    distinct_episodes,
    planned_episodes,
)


def evidence(*sizes: int) -> Evidence:
    return Evidence({("plan", c): frozenset(range(n)) for c, n in enumerate(sizes)})


@pytest.mark.parametrize(
    ("sizes", "freedom"),
    [((21,), 20), ((4,) * 7, 21), ((3,) * 10, 20), ((5, 50), 8.8), ((3, 27), 4.45), ((2, 1), 0), ((), 0)],
)
def test_degrees_of_freedom_by_hand(sizes: tuple[int, ...], freedom: float) -> None:
    assert evidence(*sizes).freedom == pytest.approx(freedom, abs=0.05)


@pytest.mark.parametrize(
    ("sizes", "enough"),
    [
        ((20,), False),
        ((21,), True),
        ((2,) * 100, False),
        ((3,) * 9, False),
        ((3,) * 10, True),
        ((1, *[60] * 19), False),
        ((5, 50), False),
        ((3, *[5] * 6), True),
        ((3, *[200] * 6), True),
        ((0, 50), False),
        ((), False),
    ],
)
def test_the_floor(sizes: tuple[int, ...], enough: bool) -> None:
    mine = evidence(*sizes)
    assert mine.enough is enough
    assert (mine.shortage == "") is enough


@given(st.lists(st.integers(0, 30), min_size=1, max_size=24), st.data())
def test_more_queries_never_take_a_verdict_away(sizes: list[int], data: Any) -> None:
    place = data.draw(st.integers(0, len(sizes) - 1))
    more = [n + data.draw(st.integers(1, 100)) * (c == place) for c, n in enumerate(sizes)]
    assert evidence(*more).freedom >= evidence(*sizes).freedom - 1e-9
    assert evidence(*more).enough or not evidence(*sizes).enough


@pytest.mark.parametrize("classes", [1, 2, 5, 6, 7, 12, 20, 80])
def test_what_is_needed_is_enough_and_no_more(classes: int) -> None:
    each = evidence(*[1] * classes).needed // classes
    assert evidence(*[each] * classes).enough
    assert not evidence(*[each - 1] * classes).enough


def test_an_image_asked_for_two_classes_is_a_query_of_each() -> None:
    mine = count_queries("plan", [0, 1, 0, 1], ["x", "x", "y", "x"], [0, 1])
    assert (mine.queries, mine.fewest) == (3, 1)
    assert mine.shortage == "too few queries (3; 1 in a class)"


def test_classes_that_the_figure_speaks_of(table: Any) -> None:
    run = table.keep_episodes(table.make_run(), range(3))
    met = len(set(run.class_ids.tolist()))
    assert not run.whole
    assert len(collect_evidence([run]).asked) == met
    assert collect_evidence([replace(run, whole=True)]).fewest == 0, (
        "under the published rule they count as 0"
    )


def test_folds_on_one_plan_count_once(table: Any) -> None:
    run = table.make_run()
    shared = [replace(run, fold=f) for f in range(4)]
    other = [table.make_run(fold=f) for f in range(4)]
    assert (collect_evidence(shared).queries, distinct_episodes(shared), planned_episodes(shared)) == (
        120,
        120,
        120,
    )
    assert (collect_evidence(other).queries, distinct_episodes(other), planned_episodes(other)) == (
        480,
        480,
        480,
    )


def test_folds_on_one_plan_of_which_some_are_unfinished(table: Any) -> None:
    run = table.make_run()
    parts = [table.keep_episodes(run, range(20)), table.keep_episodes(run, range(10, 50))]
    assert distinct_episodes(parts) == 50
    assert collect_evidence(parts).queries == 50
