"""One look for every figure: a palette that survives colour blindness and grey print, fonts, axes.

Colours are those of Okabe and Ito (2008) without yellow, which vanishes on white.  No figure tells
two things apart by colour alone: markers and line styles go with the colours.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fssbench.api import Estimate

from ..text import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#010203"
"""Text and axes: black in files; a page replaces this one value by its own text colour."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.5)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (9, 2)),
    (0, (3, 1)),
    "-",
)
MOST = len(COLOURS)
"""Things that one figure tells apart; whoever has more says what is left out."""
LONGEST = 34
"""Characters of a label."""

HALF = 3.9
"""Width in inches of figures that stand side by side on a screen, and one by one on a phone."""


@dataclass(frozen=True)
class Look:
    """How one method (or shot) is drawn, in every figure of a report."""

    colour: str
    marker: str
    line: Any


def look(i: int) -> Look:
    """The look of the `i`-th thing; the first `MOST` are all different."""
    return Look(COLOURS[i % MOST], MARKERS[i % MOST], LINES[i % MOST])


_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "fssbench",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,  # labels are foreign text
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlesize": 9.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


@contextmanager
def applied() -> Iterator[None]:
    """Within it figures are made and saved."""
    import matplotlib as mpl

    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a label may hold glyphs matplotlib's own font lacks
        yield


def blank(width: float, height: float) -> Figure:
    """An empty figure, in inches, without a background and without pyplot's global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_visible(False)
    return figure


def plain(axes: Axes, *, grid: str = "x") -> None:
    """No frame, no ticks; a faint grid along `x`, `y` or `both`."""
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(axis=grid, color=INK, alpha=0.16, linewidth=0.6)  # type: ignore[arg-type]


def keys(figure: Figure, names: Sequence[str], looks: Sequence[Look], *, lines: bool = False) -> None:
    """One legend above the figure."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, linestyle=look.line if lines else "", label=short(name, 24))
        for name, look in zip(names, looks, strict=True)
    ]
    width = figure.get_figwidth()
    columns = max(1, min(len(handles), int(width / (0.55 + 0.075 * max(len(h.get_label()) for h in handles)))))
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, columnspacing=1.2, handletextpad=0.4)


def whisker(axes: Axes, place: float, estimate: Estimate, look: Look, *, hollow: bool = False, upright: bool = False) -> None:
    """A figure with its interval: along x, or along y where `upright`."""
    ends, at = [estimate.low, estimate.high], [place, place]
    axes.plot(*((at, ends) if upright else (ends, at)), color=look.colour, linewidth=1.5, solid_capstyle="butt")
    axes.plot(
        *(([place], [estimate.value]) if upright else ([estimate.value], [place])),
        color=look.colour,
        marker=look.marker,
        markersize=5,
        linestyle="",
        markerfacecolor="none" if hollow else look.colour,
    )


def short(text: object, longest: int = LONGEST) -> str:
    """A label that fits: clean, and cut where it is too long."""
    word = clean(text)
    return word if len(word) <= longest else f"{word[: longest - 1]}…"
