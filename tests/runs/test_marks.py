"""Marks that follow from the stored episodes of a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_up_plans import drawn, entries_of

from fssbench.contracts.marks import Mark, MarkKind
from fssbench.data.picture_names import Pictures
from fssbench.runs.early_marks import make_copy_marks
from fssbench.runs.marks import make_repeat_marks

OWN = Mark(MarkKind.OWN_DATA, "12 images of mine")
CLASSES = dict.fromkeys(range(5), 12)


@pytest.mark.parametrize("shot", [1, 5, 12])
def test_repeated_supports_of_own_data_are_counted(shot: int) -> None:
    plan = replace(drawn("pascal5i", entries_of(CLASSES), shot=shot), marks=(OWN,))
    count = sum(len(set(episode.supports)) < shot for episode in plan)
    marks = make_repeat_marks(plan)
    assert [str(mark) for mark in marks] == (
        [f"repeated supports ({count} of {len(plan)} episodes)"] if count else []
    )
    assert (count == len(plan)) == (shot == 12)
    assert (count == 0) == (shot == 1)


def test_what_a_published_protocol_repeats_is_not_marked() -> None:
    assert make_repeat_marks(drawn("pascal5i", entries_of(CLASSES), shot=5)) == []


def test_distinct_supports_have_no_mark() -> None:
    plan = drawn("pascal5i", entries_of(CLASSES), shot=5, protocol="fssbench")
    assert make_repeat_marks(replace(plan, marks=(OWN,))) == []


def test_queries_of_own_data_that_show_one_picture_under_several_names_are_counted() -> None:
    plan = replace(drawn("pascal5i", entries_of(CLASSES)), marks=(OWN,))
    queries = sorted({(episode.class_id, episode.query) for episode in plan})
    assert len(queries) == len({query for _, query in queries}) == 60
    pictures = Pictures(
        {query: frozenset({f"picture {place // 3}"}) for place, (_, query) in enumerate(queries)}
    )
    assert [*map(str, make_copy_marks(plan, pictures))] == ["copied queries (40 of 60 queries)"]
    assert make_copy_marks(replace(plan, marks=()), pictures) == []
    assert make_copy_marks(plan, Pictures()) == []
