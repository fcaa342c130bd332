"""A mark is of a kind; its text, which files hold, says no more and no less."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given, strategies as st

from fssbench.contracts.episodes import Plan
from fssbench.contracts.marks import Mark, MarkKind, parse_mark
from fssbench.contracts.records import Items, StoredRecord
from fssbench.runs.mark_legend import MARK_MEANINGS, build_legend, mark_letters

details = st.text(min_size=1)
kinds = st.one_of(st.sampled_from(MarkKind), st.text(min_size=1).filter(lambda text: " (" not in text))


class Marked(StoredRecord):
    """A record with marks."""

    marks: Items[Mark] = ()
    """Marks."""


@given(kinds, details)
def test_a_mark_comes_back_from_its_text(kind: str, detail: str) -> None:
    mark = Mark(kind, detail)
    again = parse_mark(str(mark))
    assert (again, again.kind, again.detail) == (mark, mark.kind, mark.detail) == (str(mark), kind, detail)


@given(st.text())
def test_the_text_of_a_parsed_mark_is_the_text_that_was_parsed(text: str) -> None:
    assert str(parse_mark(text)) == text
    assert Marked.read_stored({"marks": [text]}).as_stored() == {"marks": [text]}


@pytest.mark.parametrize(
    ("text", "kind", "detail"),
    [
        ("untrained", MarkKind.UNTRAINED, ""),
        ("random backbone", MarkKind.RANDOM_BACKBONE, ""),
        ("sample (20 of 1868 entries)", MarkKind.SAMPLE, "20 of 1868 entries"),
        ("other lists (a (b); c: d)", MarkKind.OTHER_LISTS, "a (b); c: d"),
        ("as-published masks (1 of 2 episodes: x)", MarkKind.AS_PUBLISHED_MASKS, "1 of 2 episodes: x"),
        ("capped for fun", "capped for fun", ""),
        ("my doubt (much)", "my doubt", "much"),
        ("open (bracket", "open (bracket", ""),
    ],
)
def test_stored_texts_have_their_kind_and_detail(text: str, kind: str, detail: str) -> None:
    mark = parse_mark(text)
    assert (mark.kind, mark.detail, str(mark)) == (kind, detail, text)


def test_a_kind_with_a_bracket_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a \(b"):
        Mark("a (b", "c")


def test_a_mark_survives_copies_and_is_text_in_json() -> None:
    mark = Mark(MarkKind.CAPPED, "8 of 600 episodes")
    for again in (copy.deepcopy(mark), pickle.loads(pickle.dumps(mark))):
        assert (again, again.kind, again.detail) == (mark, MarkKind.CAPPED, "8 of 600 episodes")
    assert json.loads(json.dumps([mark])) == ["capped (8 of 600 episodes)"]


@pytest.mark.parametrize("kind", MarkKind)
def test_every_kind_is_explained_and_parsed(kind: MarkKind) -> None:
    mark = Mark(kind, "x")
    assert mark.family in MARK_MEANINGS
    assert parse_mark(str(mark)).kind is kind
    assert parse_mark(str(Mark(kind))).kind is kind


def test_kinds_of_one_family_share_a_letter_and_others_do_not() -> None:
    marks = [Mark(kind) for kind in MarkKind]
    legend = build_legend(marks)
    assert len({entry.letter for entry in legend.values()}) == len({mark.family for mark in marks})
    doubtful = [Mark(MarkKind.DOUBTFUL_MASKS, "1"), Mark(MarkKind.DOUBTFUL_TRAINING_MASKS, "2")]
    assert mark_letters(doubtful, build_legend(doubtful)) == "D"


def test_a_plan_that_is_made_by_hand_may_name_its_marks_by_text() -> None:
    plan = Plan(
        **dict.fromkeys(("benchmark", "dataset", "split", "protocol", "lists"), "x"),
        **dict.fromkeys(("version", "fold", "shot", "seed", "size"), 1),
        dataset_variant=None,
        classes=(0,),
        class_names=("a",),
        marks=("capped (1 of 2 episodes)",),
    )
    assert plan.marks[0].kind == MarkKind.CAPPED
