"""One figure of a report: name, place, title, caption and files.  It is drawn once for all of its files."""

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
    """Unique name in a report, of letters, digits and dashes.  Files and ids on a page begin with it."""
    place: str
    """Part of the report it belongs to: `summary`, `benchmark/<id>`, `comparison`, ..."""
    title: str
    """One line, which a screen reader says before the figure."""
    caption: str
    """Text below the figure: its content, the number of episodes and the kind of interval."""
    make: Callable[[], Figure]
    """Draws the figure; called within `apply_style()`."""

    @property
    def part(self) -> str:
        """First part of `place`: `summary`, `benchmark`, `comparison`, ..."""
        return self.place.partition("/")[0]

    @cached_property
    def figure(self) -> Figure:
        """The figure, drawn at its first use."""
        with apply_style():
            return self.make()

    @cached_property
    def svg(self) -> str:
        """The text of its SVG file, which pages contain too."""
        return self.render("svg").decode()

    def keep_svg(self, text: str) -> None:
        """Keep the text of the SVG file that another process has made."""
        self.__dict__["svg"] = text

    def render(self, kind: Kind) -> bytes:
        """Return the content of its file in one format; equal drawings give equal bytes."""
        return render_figure(self.figure, kind, self.title, self.caption)


def make_slug(text: str) -> str:
    """Return at most 80 characters of a plain name for ids and file names, or `x` if no character of it is allowed."""
    return make_plain_name(text)[:80].strip("-") or "x"
