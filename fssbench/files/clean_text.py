"""Foreign text on one line, without characters that command a terminal or a page."""

from __future__ import annotations

import re
import unicodedata


def clean_line(text: object) -> str:
    r"""One line of text without characters that command a terminal, a page or a reading direction.

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


def escape_text(text: str) -> str:
    r"""Write control, bidi-override and other format characters as escapes; newlines stay.

    Names and error texts come from plugins and files; a raw ESC in them would control the terminal.

    Example:
        >>> escape_text("a\x1b[31mb")
        'a\\x1b[31mb'
    """
    return "".join(
        c if c == "\n" or unicodedata.category(c) not in {"Cc", "Cf", "Cs"} else ascii(c)[1:-1] for c in text
    )
