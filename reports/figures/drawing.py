"""What a figure is before it is drawn: its name, its place, its words and how to make it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """One figure of a report.

    `make` must be called, and the figure saved, within `style.applied()`.
    """

    name: str
    """Letters, digits and dashes; unique in a report: stem of a file, prefix of ids on a page."""
    place: str
    """Part of the report it belongs to: `summary`, `benchmark/<id>`, `comparison`, ..."""
    title: str
    """One line, as read out before the figure."""
    caption: str
    """What is drawn, on how many episodes, with which interval; shown below the figure."""
    make: Callable[[], Figure]


def slug(text: str) -> str:
    """A name's first letters and digits, with dashes between: safe in ids and file names.

    Example:
        >>> slug("pascal-to-isic2018:isic1 <x>")
        'pascal-to-isic2018-isic1-x'
    """
    kept = "".join(c if c.isascii() and c.isalnum() else " " for c in text)
    return "-".join(kept.split())[:80].strip("-") or "x"
