"""What every verb prints with: JSON lines, tables, and text that cannot disturb a terminal.

Standard output is data, standard error is talk.  A table is drawn for a person at a terminal; in a
pipe the same rows are tab-separated, header first, so that `cut` and `sort` work.
"""

from __future__ import annotations

import json
import math
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

INLINE = 72
"""Characters up to which a list is printed on its name's line."""


def printable(text: str) -> str:
    r"""Text with control, bidi-override and other format characters written as escapes; newlines stay.

    Names and error texts come from plugins and files; a raw ESC in one would command the terminal.

    Example:
        >>> printable("a\x1b[31mb")
        'a\\x1b[31mb'
    """
    return "".join(
        c if c == "\n" or unicodedata.category(c) not in {"Cc", "Cf", "Cs"} else ascii(c)[1:-1] for c in text
    )


def one_line(text: str) -> str:
    """The printable text on one line: newlines and tabs become single spaces."""
    return printable(" ".join(text.split()))


def plain(value: Any) -> Any:
    """A value as JSON can hold it: NaN and infinities become null, paths, sets and records plain."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(v) for v in value)
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "model_dump"):
        return plain(value.model_dump())
    if hasattr(value, "item"):  # a numpy or torch scalar
        return plain(value.item())
    return value


def emit_json(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print one JSON object a line to standard output; what is not a number is null there."""
    for row in rows:
        click.echo(json.dumps(plain(row), ensure_ascii=False, allow_nan=False))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """Print rows: drawn at a terminal, tab-separated in a pipe.  Cells are never read as markup."""
    cells = [[one_line("" if cell is None else str(cell)) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        click.echo("\t".join(columns))
        for row in cells:
            click.echo("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=Text(title) if title else None, box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        drawn.add_column(Text(column), overflow="fold")
    for row in cells:
        drawn.add_row(*map(Text, row))
    Console(highlight=False).print(drawn)


def fields(rows: Mapping[str, Any]) -> None:
    """Print `name: value` lines; a long list goes below its name, one item a line."""
    width = max((len(name) for name in rows), default=0) + 1
    for name, value in rows.items():
        if isinstance(value, Mapping):
            items = [f"{k}: {v}" for k, v in value.items()]
        elif isinstance(value, (list, tuple)):
            items = [str(v) for v in value]
            joined = ", ".join(items)
            if 0 < len(joined) <= INLINE and "\n" not in joined:
                click.echo(f"{name + ':':<{width}} {printable(joined)}")
                continue
        else:
            click.echo(f"{name + ':':<{width}} {_indented(str(value), width + 1)}")
            continue
        click.echo(f"{name}:" if items else f"{name + ':':<{width}} -")
        for item in items:
            click.echo(f"  {_indented(item, 2)}")


def _indented(text: str, by: int) -> str:
    return printable(text).replace("\n", "\n" + " " * by)
