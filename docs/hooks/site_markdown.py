"""Writes Markdown from facts: tables, lists, and texts that must not be read as markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_MARKUP = re.compile(r"([\\`*_{}\[\]|#])")
_CODE = re.compile(r"(`[^`]+`)")


def escape_markup(text: str) -> str:
    r"""Escape Markdown and HTML in a text from a card.  Code in backquotes stays code.

    Example:
        >>> escape_markup("`a_b` and a_b")
        '`a_b` and a\\_b'
    """
    parts = _CODE.split(text)
    return "".join(
        part if index % 2 else _MARKUP.sub(r"\\\1", part).replace("<", "&lt;")
        for index, part in enumerate(parts)
    )


def make_cell(value: Any) -> str:
    """Write a value as one cell of a table."""
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return "<br>".join(escape_markup(line.strip()).replace("\\|", "&#124;") for line in text.split("\n"))


def make_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table of cells that are Markdown already."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def make_list(items: Iterable[Any]) -> str:
    """Write a bulleted list of texts."""
    return "".join(f"- {make_cell(item)}\n" for item in items)


def make_section(title: str, value: Any, *, columns: tuple[str, str] = ("name", "value")) -> str:
    """Write a heading with a table, a list or a paragraph below it, as the value demands.

    Args:
        title: the heading.
        value: a mapping, a sequence or a text.
        columns: headings of the table of a mapping.
    """
    head = f"\n## {escape_markup(title[:1].upper() + title[1:])}\n\n"
    if isinstance(value, Mapping):
        return head + make_table(columns, ((make_cell(k), make_cell(v)) for k, v in value.items()))
    if isinstance(value, (list, tuple)):
        return head + make_list(value)
    return head + make_cell(value) + "\n"


def is_section(value: Any) -> bool:
    """Return whether a fact deserves a heading: a mapping, a list of sentences, or a long text."""
    if isinstance(value, Mapping):
        return bool(value)
    if isinstance(value, (list, tuple)):
        return any(len(str(item)) > 40 for item in value) or len(value) > 12
    return len(str(value)) > 400


def make_facts(facts: Mapping[str, Any], *, columns: Mapping[str, tuple[str, str]] | None = None) -> str:
    """Write facts: the short ones as one table, the others with a heading each.

    Args:
        facts: values by name; empty ones are left out.
        columns: headings of the tables of mappings, by the name of the fact.
    """
    present = {name: value for name, value in facts.items() if value not in (None, "", (), [], {})}
    short = {name: value for name, value in present.items() if not is_section(value)}
    table = make_table(
        ("fact", "value"), ((make_cell(name), make_cell(value)) for name, value in short.items())
    )
    sections = [
        make_section(name, value, columns=(columns or {}).get(name, ("name", "value")))
        for name, value in present.items()
        if name not in short
    ]
    return table + "".join(sections)
