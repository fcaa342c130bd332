"""One look for every figure: a palette that survives colour blindness and grey print, fonts, axes.

Colours are those of Okabe and Ito (2008) without yellow, which vanishes on white.  No figure tells
two things apart by colour alone: markers and line styles go with the colours.
"""

from __future__ import annotations

import math
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fssbench.api import Estimate, clean_line

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
"""Most items that one figure distinguishes; a figure with more says what it leaves out."""
LONGEST = 34
"""Characters of a label."""
_KEY = 24
"""Characters of a name in a legend."""

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


def blank(
    height: float, names: Sequence[str] = (), *, left: float = 0.6, bottom: float = 0.5, right: float = 0.12
) -> Figure:
    """An empty figure, `HALF` wide, on white, without pyplot's global state.

    Margins are set from the lengths of what stands in them: matplotlib's own layout engines draw
    every figure twice.

    Args:
        height: of the axes, in inches.
        names: of a legend above the axes.
        left: margin in inches, see `room`.
        bottom: margin in inches.
        right: margin in inches.
    """
    from matplotlib.figure import Figure

    top = 0.12 + 0.19 * math.ceil(len(names) / _columns(names)) if names else 0.12
    whole = height + bottom + top
    figure = Figure(figsize=(HALF, whole))
    figure.subplots_adjust(left / HALF, bottom / whole, 1 - right / HALF, 1 - top / whole)
    figure.patch.set_facecolor("white")  # black ink on nothing is invisible on a dark slide
    return figure


def room(labels: Iterable[str], *, size: float = 9.0) -> float:
    """Inches that the longest of some labels takes."""
    return max((_length(label) for label in labels), default=0) * size * 0.0083 + 0.12


def _length(label: str) -> int:
    """Characters, those of double width twice."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in label)


def _columns(names: Sequence[str]) -> int:
    """Columns of a legend."""
    return max(1, min(len(names), int(HALF / (0.42 + room(short_names(names, _KEY), size=8.5)))))


def plain(axes: Axes, *, grid: str = "x") -> None:
    """No frame, no ticks; a faint grid along `x`, `y` or `both`."""
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(axis=grid, color=INK, alpha=0.16, linewidth=0.6)  # type: ignore[arg-type]


def keys(figure: Figure, names: Sequence[str], looks: Sequence[Look], *, lines: bool = False) -> None:
    """One legend above the axes, in the room that `blank` left for it."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=each.colour,
            marker=each.marker,
            linestyle=each.line if lines else "",
            label=name,
        )
        for name, each in zip(short_names(names, _KEY), looks, strict=True)
    ]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, 1),
        ncols=_columns(names),
        borderpad=0.2,
        columnspacing=1.0,
        handletextpad=0.4,
    )


def whisker(
    axes: Axes, place: float, estimate: Estimate, look: Look, *, hollow: bool = False, upright: bool = False
) -> None:
    """A figure with its interval: along x, or along y where `upright`."""
    ends, at = [estimate.low, estimate.high], [place, place]
    axes.plot(
        *((at, ends) if upright else (ends, at)), color=look.colour, linewidth=1.5, solid_capstyle="butt"
    )
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
    word = clean_line(text)
    return word if len(word) <= longest else f"{word[: longest - 1]}…"


def short_names(names: Iterable[object], longest: int = LONGEST) -> list[str]:
    """Labels that fit, no two alike where the names are not: what tells names apart often ends them.

    Example:
        >>> short_names(["a long name, source 1", "a long name, source 2", "other"], 12)
        ['a l…source 1', 'a l…source 2', 'other']
    """
    words = list(map(clean_line, names))
    for tail in range(0, longest - 3, 4):
        cut = [
            word if len(word) <= longest else f"{word[: longest - 1 - tail]}…{word[len(word) - tail :]}"
            for word in words
        ]
        if len(set(cut)) == len(set(words)):
            return cut
    return [f"{n} {short(word, longest - 4)}" for n, word in enumerate(words, start=1)]
