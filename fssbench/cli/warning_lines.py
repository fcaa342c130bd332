"""Warnings as lines on standard error that a user can read: no file, no line number, no source code."""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import TextIO

import click

from fssbench.cli.output import to_one_line
from fssbench.files.clean_text import escape_text
from fssbench.files.secrets import hide_in_message


def print_plain_warnings() -> None:
    """Print each warning of this process as one line `warning: ...`; other categories than ours are named.

    Filters stay as they are, so `python -W` and PYTHONWARNINGS decide as before what is shown.
    """
    warnings.showwarning = _print_warning


def _print_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    with suppress(OSError, ValueError):  # the stream is closed; a warning ends no work
        click.echo(f"warning: {format_warning(message, category)}", file=file, err=file is None)


def format_warning(message: Warning | str, category: type[Warning]) -> str:
    """Return the text of a warning as one line, with its category if that is not ours."""
    kind = "" if category is UserWarning else f"{category.__name__}: "
    return f"{kind}{escape_text(hide_in_message(to_one_line(str(message))))}"
