"""Foreign text on one line: what commands a terminal or a page is written as its code."""

from __future__ import annotations

import unicodedata

from fssbench.files.clean_text import clean_line


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
