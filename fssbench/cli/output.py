"""Prints JSON lines, tables, and text without control characters, for all verbs.

Standard output is for data, standard error for messages.  At a terminal a table has aligned columns.  In a pipe the
same rows are tab-separated with the header first, so that `cut` and `sort` work.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from fssbench.cli.streams import was_closed
from fssbench.errors import UsageError
from fssbench.files.clean_text import escape_json, escape_text as escape_text

INLINE = 72
"""Longest list, in characters, that is printed on the line of its name."""
_JSON_OUTPUT = "fssbench.json_output"
"""Key of the stream for JSON lines among the facts that the contexts of one command share."""

_PLAIN = frozenset({str, int, bool, type(None)})
"""Types whose values are in JSON as they are."""


def to_one_line(text: str) -> str:
    """Write a printable text on one line: newlines and tabs become single spaces."""
    return escape_text(" ".join(text.split()))


def to_json_value(value: Any) -> Any:
    """Convert a value for JSON: NaN and infinities become null, and paths, sets and records plain values."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): to_json_value(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json_value(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(to_json_value(v) for v in value)
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "model_dump"):
        return to_json_value(value.model_dump())
    if hasattr(value, "item"):  # a numpy or torch scalar
        return to_json_value(value.item())
    return value


def reserve_output_for_json(context: click.Context) -> None:
    """Send what plugins and libraries print to standard error until the command ends.

    Only `emit_json` writes to standard output from then on, so that each of its lines is JSON.

    Raises:
        UsageError: if standard output is closed, so that the JSON would be lost.
    """
    if was_closed("stdout"):
        raise UsageError("--json prints to standard output, which is closed. Next: redirect it to a file")
    context.meta[_JSON_OUTPUT] = sys.stdout
    context.with_resource(contextlib.redirect_stdout(sys.stderr))


def emit_json(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print one JSON object per line to standard output; NaN and infinities become null."""
    context = click.get_current_context(silent=True)
    reserved = context.meta.get(_JSON_OUTPUT) if context else None
    for row in rows:
        line = json.dumps(to_json_value(row), ensure_ascii=False, allow_nan=False)
        click.echo(escape_json(line), file=reserved)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """Print rows: aligned at a terminal, tab-separated in a pipe.  Cells are never read as markup."""
    cells = [[to_one_line("" if cell is None else str(cell)) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        click.echo("\t".join(columns))
        for row in cells:
            click.echo("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=Text(title) if title else None, box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        grid.add_column(Text(column), overflow="fold")
    for row in cells:
        grid.add_row(*map(Text, row))
    Console(highlight=False).print(grid)


def print_fields(rows: Mapping[str, Any]) -> None:
    """Print `name: value` lines; a long list goes below its name, one item per line."""
    width = max((len(name) for name in rows), default=0) + 1
    for name, value in rows.items():
        if isinstance(value, Mapping):
            items = [f"{k}: {v}" for k, v in value.items()]
        elif isinstance(value, (list, tuple)):
            items = [str(v) for v in value]
            joined = ", ".join(items)
            if 0 < len(joined) <= INLINE and "\n" not in joined:
                click.echo(f"{name + ':':<{width}} {escape_text(joined)}")
                continue
        else:
            click.echo(f"{name + ':':<{width}} {_indent(str(value), width + 1)}")
            continue
        click.echo(f"{name}:" if items else f"{name + ':':<{width}} -")
        for item in items:
            click.echo(f"  {_indent(item, 2)}")


def _indent(text: str, by: int) -> str:
    return escape_text(text).replace("\n", "\n" + " " * by)
