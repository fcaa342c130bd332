"""Small pieces of HTML, which notebooks show for results.  Every text is cleaned and escaped here."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence

from fssbench.files.clean_text import clean_line


def escape(text: object) -> str:
    """Return a text for HTML: on one line, without control characters, escaped."""
    return html.escape(clean_line(text))


def make_fields(fields: Mapping[str, object]) -> str:
    """Make a table of two columns, name and value; several values of a name stand below each other.

    Example:
        >>> make_fields({"marks": ["a<b", "c"]})
        '<table><tr><th style="text-align:left">marks</th><td style="text-align:left">a&lt;b<br>c</td></tr></table>'
    """
    rows = []
    for name, value in fields.items():
        values = value if isinstance(value, list | tuple) else [value]
        shown = "<br>".join(map(escape, values)) if values else "none"
        rows.append(f"<tr>{_make_cell('th', escape(name))}{_make_cell('td', shown)}</tr>")
    return f"<table>{''.join(rows)}</table>"


def make_table(columns: Sequence[str], rows: Iterable[Sequence[object]], notes: Iterable[str] = ()) -> str:
    """Make a table with a header, and notes as paragraphs below it."""
    head = "".join(_make_cell("th", escape(column)) for column in columns)
    lines = ("".join(_make_cell("td", escape(value)) for value in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    below = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def make_pictures(pictures: Iterable[tuple[str, bytes]]) -> str:
    """Make a row of pictures, each a caption and the bytes of a JPEG, that is part of the page."""
    shown = []
    for caption, jpeg in pictures:
        address = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
        shown.append(
            f'<figure style="display:inline-block;margin:4px"><img alt="{escape(caption)}" src="{address}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    return f"<div>{''.join(shown)}</div>"


def _make_cell(tag: str, content: str) -> str:
    return f'<{tag} style="text-align:left">{content}</{tag}>'


def format_interval(low: float, high: float, shortage: str) -> str:
    """Write an interval, or why there is none.

    Example:
        >>> format_interval(1.25, 3.0, ""), format_interval(float("nan"), float("nan"), "too few queries (8)")
        ('1.2 to 3.0', 'none: too few queries (8)')
    """
    if math.isfinite(low) and math.isfinite(high):
        return f"{low:.1f} to {high:.1f}"
    return f"none: {shortage or 'not resampled'}"
