"""Foreign text on one line: what commands a terminal or a page is written as its code."""

from __future__ import annotations

import json
import unicodedata

from at_night import draw_more
from hypothesis import given, settings, strategies as st

from fssbench.files.clean_text import clean_line, escape_json


def test_no_character_of_any_kind_commands_a_terminal() -> None:
    """Each character of the first two planes alone, since text that is printable takes a short way."""
    for code in range(0x20000):
        char = chr(code)
        line = clean_line(char)
        if char in "\t\n\r\v\f\u2028\u2029\x85":
            assert line == " "
        elif unicodedata.category(char).startswith("C"):
            assert line == f"⟨{code:02X}⟩"
        else:
            assert line == char


def test_white_space_becomes_one_space_among_other_text() -> None:
    assert clean_line("a\r\n\tb é\x1b[0m") == "a b é⟨1B⟩[0m"


VALUES = given(
    st.recursive(
        st.text(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2)
    )
)


@settings(max_examples=50, deadline=None)
@VALUES
def test_escaped_json_has_the_same_value_and_no_character_that_commands(value: object) -> None:
    text = escape_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert not {unicodedata.category(c) for c in text} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


test_escaped_json_has_the_same_value_and_no_character_that_commands_at_night = draw_more(
    test_escaped_json_has_the_same_value_and_no_character_that_commands, VALUES, 200
)


def test_json_keeps_letters_of_every_language() -> None:
    assert escape_json('"日本語 é \U0001f600"') == '"日本語 é \U0001f600"'
    assert escape_json('["a\x9b\u202e\U000e0001\x7f"]') == r'["a\u009b\u202e\udb40\udc01\u007f"]'
