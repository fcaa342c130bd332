"""A figure of a report: its name, its place, its words, and its files, for which it is drawn once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fssbench.api import make_plain_name

from .saving import Kind, render_figure
from .style import apply_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """One figure of a report."""

    name: str
    """Letters, digits and dashes; unique in a report: stem of a file, prefix of ids on a page."""
    place: str
    """Part of the report it belongs to: `summary`, `benchmark/<id>`, `comparison`, ..."""
    title: str
    """One line, as read out before the figure."""
    caption: str
    """What is drawn, on how many episodes, with which interval; shown below the figure."""
    make: Callable[[], Figure]
    """Draws the figure; called within `style.applied()`."""

    @property
    def part(self) -> str:
        """The part of the report alone: `summary`, `benchmark`, `comparison`, ..."""
        return self.place.partition("/")[0]

    @cached_property
    def figure(self) -> Figure:
        """The figure, drawn at its first use."""
        with apply_style():
            return self.make()

    @cached_property
    def svg(self) -> str:
        """The text of its SVG file, which pages hold too."""
        return self.render("svg").decode()

    def render(self, kind: Kind) -> bytes:
        """The bytes of its file in a format; equal drawings give equal bytes."""
        return render_figure(self.figure, kind, self.title, self.caption)


def make_slug(text: str) -> str:
    """The first 80 characters of a plain name, for ids and file names; `x` if nothing of the text is left."""
    return make_plain_name(text)[:80].strip("-") or "x"
