"""One look for every figure: a palette that survives colour blindness and grey print, fonts, axes.

Colours are those of Okabe and Ito (2008) without yellow, which vanishes on white.  No figure tells
two things apart by colour alone: markers and line styles go with the colours.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

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


def short(text: object, longest: int = LONGEST) -> str:
    """A label that fits: clean, and cut where it is too long."""
    word = clean(text)
    return word if len(word) <= longest else f"{word[: longest - 1]}…"
