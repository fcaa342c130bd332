"""Foreign text on one line, without characters that command a terminal or a page."""

from __future__ import annotations

import json
import re
import unicodedata

_COMMANDING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of characters that command: controls, bidi overrides and other formats, surrogates, line separators."""


def clean_line(text: object) -> str:
    r"""Return one line of text without characters that command a terminal, a page or a reading direction.

    Control, format (bidirectional overrides), private, unassigned and surrogate characters are
    written as their code; white space becomes one space.

    Example:
        >>> clean_line("a\x1b[31m\tb")
        'a⟨1B⟩[31m b'
    """
    line = str(text)
    if line.isprintable():  # so it has no character of these kinds
        return line
    line = re.sub(r"[\t\n\r\v\f\u2028\u2029\x85]+", " ", line)
    return "".join(c if unicodedata.category(c)[0] != "C" else f"⟨{ord(c):02X}⟩" for c in line)


def guard_formula(text: object) -> str:
    """Return one line of text that no spreadsheet takes for a formula.

    Example:
        >>> guard_formula("=cmd()"), guard_formula("pmnet")
        ("'=cmd()", 'pmnet')
    """
    plain = clean_line(text)
    return f"'{plain}" if plain.lstrip()[:1] in {"=", "+", "-", "@", "＝", "＋", "－", "＠"} else plain


def escape_json(text: str) -> str:
    r"""Escape, in a text that is JSON, all characters that command a terminal or a reading direction.

    The text stays JSON of the same value; newlines between its values stay.

    Example:
        >>> escape_json('{"a": "b\u202ec"}')
        '{"a": "b\\u202ec"}'
    """
    if text.isascii() and "\x7f" not in text:  # JSON itself escapes the other controls
        return text
    return "".join(
        c
        if c == "\n" or unicodedata.category(c) not in _COMMANDING
        else json.dumps(c)[1:-1].replace("\x7f", r"\u007f")
        for c in text
    )


def shorten_middle(text: str, most: int) -> str:
    """Shorten a text to at most `most` characters; its middle is replaced by three dots.

    Example:
        >>> shorten_middle("abcdefghij", 7)
        'ab...ij'
    """
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[:half]}...{text[-half:]}"


def escape_text(text: str) -> str:
    r"""Write control, bidi-override and other format characters as escapes; newlines stay.

    Names and error texts come from plugins and files; a raw ESC in them would control the terminal.

    Example:
        >>> escape_text("a\x1b[31mb")
        'a\\x1b[31mb'
    """
    return "".join(
        c if c == "\n" or unicodedata.category(c) not in _COMMANDING else ascii(c)[1:-1] for c in text
    )
