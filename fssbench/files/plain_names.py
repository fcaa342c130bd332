"""Names of files and folders from any text: ASCII letters, digits and dashes."""

from __future__ import annotations

import re


def replace_unsafe(text: str, *, keep: str = "") -> str:
    """Replace every character by a dash, except ASCII letters, digits and those in `keep`.

    Example:
        >>> replace_unsafe("a b: c.d", keep=".")
        'a-b--c.d'
    """
    return "".join(c if c.isascii() and (c.isalnum() or c in keep) else "-" for c in text)


def make_plain_name(text: str, *, keep: str = "") -> str:
    """Make a name that is safe on every system: as `replace_unsafe`, with one dash between parts and none at the ends.

    It may be empty, and two texts may have one name: add what makes it unique.

    Args:
        text: any text.
        keep: other characters that the name may contain.

    Example:
        >>> make_plain_name("pascal-to-isic2018:isic1 <x>")
        'pascal-to-isic2018-isic1-x'
    """
    return re.sub("-+", "-", replace_unsafe(text, keep=keep)).strip("-")
