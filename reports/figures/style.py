"""The style of every figure: colours, markers, fonts and axes.

Colours are those of Okabe and Ito (2008) without yellow, which is invisible on white.  They suit colour-blind readers
and grey print.  No figure distinguishes two things by colour alone: markers and line styles differ too.
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
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK = "#010203"
"""Colour of text and axes: black in files.  A page replaces this value by its own text colour."""
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
"""Maximum number of items that a figure distinguishes.  A figure with more says what it leaves out."""
LONGEST = 34
"""Maximum number of characters of a label."""
_KEY = 24
"""Maximum number of characters of a name in a legend."""
_KEY_SIZE = 8.5
"""Points of a legend's text."""
_KEY_MARGIN, _KEY_HEIGHT, _KEY_LINE, _KEY_GAP = 0.08, 0.177, 0.236, 0.047
"""Inches: above and left of a legend, a row of it, the line before a name, and the gap between these two."""
_TICK_GAP, _LABEL_BELOW, _LABEL_BESIDE = 0.049, 0.24, 0.36
"""Inches from the axes to the texts of ticks, to a label below and to a label beside, with those texts in between."""

HALF = 3.9
"""Width in inches of figures that stand side by side on a screen, and one by one on a phone."""


@dataclass(frozen=True)
class Look:
    """The colour, marker and line style of one method (or shot) in every figure of a report."""

    colour: str
    marker: str
    line: Any


def pick_look(i: int) -> Look:
    """Return the look of the `i`-th item.  The first `MOST` are all different."""
    return Look(COLOURS[i % MOST], MARKERS[i % MOST], LINES[i % MOST])


_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "fssbench",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,  # labels are foreign text
    "axes.formatter.limits": (-99, 99),
    "axes.formatter.useoffset": False,  # the texts of ticks say all
    "axes.titlesize": 9.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # else each drawing looks for ticks above the axes
}


@contextmanager
def apply_style() -> Iterator[None]:
    """Context in which figures are drawn and saved, with the settings of all figures."""
    import matplotlib as mpl

    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a label may hold glyphs matplotlib's own font lacks
        yield


def make_figure(
    height: float, names: Sequence[str] = (), *, left: float = 0.6, bottom: float = 0.5, right: float = 0.12
) -> Figure:
    """Make an empty figure, `HALF` wide, on white, without pyplot's global state.

    Margins are set from the lengths of what stands in them: matplotlib's own layout engines draw
    every figure twice.

    Args:
        height: of the axes, in inches.
        names: of a legend above the axes.
        left: margin in inches, see `measure_room`.
        bottom: margin in inches.
        right: margin in inches.
    """
    from matplotlib.figure import Figure

    top = 0.12 + 0.19 * math.ceil(len(names) / _count_columns(names)) if names else 0.12
    whole = height + bottom + top
    figure = Figure(figsize=(HALF, whole))
    figure.subplots_adjust(left / HALF, bottom / whole, 1 - right / HALF, 1 - top / whole)
    figure.patch.set_facecolor("white")  # black ink on nothing is invisible on a dark slide
    return figure


def measure_room(labels: Iterable[str], *, size: float = 9.0) -> float:
    """Return the inches that the longest label takes."""
    return max((_measure_length(label) for label in labels), default=0) * size * 0.0083 + 0.12


def _measure_length(label: str) -> int:
    """Return the number of characters, with characters of double width counted twice."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in label)


def _count_columns(names: Sequence[str]) -> int:
    """Return the number of columns of a legend."""
    return max(
        1, min(len(names), int(HALF / (0.42 + measure_room(shorten_labels(names, _KEY), size=_KEY_SIZE))))
    )


@dataclass(frozen=True)
class Scale:
    """One side of the axes: its label and its ticks."""

    label: str = ""
    ticks: tuple[Sequence[float], Sequence[str]] | None = None
    """Places and texts; those that matplotlib chooses if none are given."""
    grid: bool = True
    """Whether a faint line crosses the axes at each tick."""
    texts: bool = True
    """Whether the ticks have texts; not so beside a panel with the same scale."""


def draw_scales(axes: Axes, across: Scale, up: Scale, *, size: float = 9.0) -> None:
    """Draw ticks, grid and labels of axes whose limits are set, without frame and tick marks.

    They are drawn as plain lines and texts, since matplotlib's own axis looks for its ticks, their texts and a place
    for its label anew in each of three formats, which takes longer than all else in a figure.

    Args:
        axes: the axes.
        across: the horizontal side, below the axes.
        up: the vertical side, left of the axes.
        size: of the texts, in points.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.transforms import ScaledTranslation

    axes.apply_aspect()
    inches = axes.figure.dpi_scale_trans
    for scale, axis in ((across, axes.xaxis), (up, axes.yaxis)):
        flat = scale is across
        line = axes.get_xaxis_transform() if flat else axes.get_yaxis_transform()
        places, texts = scale.ticks or _choose_ticks(axis)
        if scale.grid:
            ends = [((p, 0.0), (p, 1.0)) if flat else ((0.0, p), (1.0, p)) for p in places]
            axes.add_artist(
                LineCollection(ends, colors=INK, alpha=0.16, linewidths=0.6, zorder=0.5, transform=line)
            )
        x, y = (0.0, -_TICK_GAP) if flat else (-_TICK_GAP, 0.0)
        gap = ScaledTranslation(x, y, inches)
        for place, text in zip(places, texts if scale.texts else (), strict=scale.texts):
            axes.text(
                *((place, 0.0) if flat else (0.0, place)),
                text,
                transform=line + gap,
                ha="center" if flat else "right",
                va="top" if flat else "center_baseline",
                fontsize=size,
            )
        x, y = (0.0, -_LABEL_BELOW) if flat else (-_LABEL_BESIDE, 0.0)
        gap = ScaledTranslation(x, y, inches)
        axes.text(
            *((0.5, 0.0) if flat else (0.0, 0.5)),
            scale.label,
            transform=axes.transAxes + gap,
            ha="center",
            va="top" if flat else "bottom",
            rotation=0 if flat else 90,
            rotation_mode="anchor",
            fontsize=size,
        )
    axes.set_axis_off()


def _choose_ticks(axis: Axis) -> tuple[Sequence[float], Sequence[str]]:
    """Ticks that matplotlib chooses for an axis, those inside its limits, with their texts."""
    low, high = sorted(axis.get_view_interval())
    places = [place for place in axis.get_majorticklocs() if low <= place <= high]
    return places, axis.get_major_formatter().format_ticks(places)


def draw_legend(figure: Figure, names: Sequence[str], looks: Sequence[Look], *, lines: bool = False) -> None:
    """Draw one legend above the axes, in the room that `make_figure` left for it: its columns are filled one by one.

    It is placed here, since matplotlib's own legend is laid out anew at each drawing, which takes a fifth of it.
    """
    from matplotlib.lines import Line2D

    labels = shorten_labels(names, _KEY)
    rows = math.ceil(len(labels) / _count_columns(names))
    left, inches = _KEY_MARGIN, figure.dpi_scale_trans
    for first in range(0, len(labels), rows):
        column = labels[first : first + rows]
        for row, (label, each) in enumerate(zip(column, looks[first : first + rows], strict=True)):
            height = figure.get_figheight() - _KEY_MARGIN - (row + 0.5) * _KEY_HEIGHT
            figure.add_artist(
                Line2D(
                    [left, left + _KEY_LINE / 2, left + _KEY_LINE],
                    [height] * 3,
                    color=each.colour,
                    marker=each.marker,
                    markevery=[1],
                    linestyle=each.line if lines else "",
                    transform=inches,
                )
            )
            figure.text(
                left + _KEY_LINE + _KEY_GAP, height, label, fontsize=_KEY_SIZE, va="center", transform=inches
            )
        left += _KEY_LINE + _KEY_GAP + max(map(_measure_width, column)) + _KEY_SIZE / 72


def _measure_width(label: str) -> float:
    """Width of a legend's label in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    width, _, _ = text_to_path.get_text_width_height_descent(
        label, FontProperties(size=_KEY_SIZE), ismath=False
    )
    return float(width) / 72


def draw_interval(
    axes: Axes, place: float, estimate: Estimate, look: Look, *, hollow: bool = False, upright: bool = False
) -> None:
    """Draw a figure with its interval: along x, or along y if `upright`."""
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


def shorten_label(text: object, longest: int = LONGEST) -> str:
    """Return a clean label, cut if it is too long."""
    word = clean_line(text)
    return word if len(word) <= longest else f"{word[: longest - 1]}…"


def shorten_labels(names: Iterable[object], longest: int = LONGEST) -> list[str]:
    """Return labels that fit.  Different names get different labels: names often differ only at their end.

    Example:
        >>> shorten_labels(["a long name, source 1", "a long name, source 2", "other"], 12)
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
    return [f"{n} {shorten_label(word, longest - 4)}" for n, word in enumerate(words, start=1)]
