"""Notes of method cards: a kind and a text."""

from __future__ import annotations

import pytest

from fssbench.contracts.notes import Note
from fssbench.plugins.registry import METHODS


@pytest.mark.parametrize(
    ("note", "shown"),
    [
        (Note("corrected", "Any input size works."), "Corrected: any input size works."),
        (Note("reproduced", "RPMMs adds up."), "Reproduced: RPMMs adds up."),
        (
            Note("differs", "`fssbench train` augments nothing."),
            "Differs: `fssbench train` augments nothing.",
        ),
        (Note("remark", "Reads pixels."), "Reads pixels."),
    ],
)
def test_a_note_is_shown_after_its_kind(note: Note, shown: str) -> None:
    assert str(note) == shown


def test_a_note_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="corected.*corrected"):
        Note("corected", "x")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", METHODS.names())
def test_no_text_of_a_built_in_note_repeats_its_kind(name: str) -> None:
    for note in METHODS.get(name).card.notes:
        assert isinstance(note, Note)
        assert not note.text.startswith(("Reproduced", "Corrected", "Differs")), note
