"""Scatter plot of two methods, with one point per episode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .style import COLOURS, HALF, INK, Scale, draw_scales, make_figure, shorten_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 400
"""Maximum number of points.  If there are more episodes, every k-th is drawn."""


def choose_points(count: int) -> NDArray[np.int64]:
    """Return the positions of the points that are drawn: evenly spaced, never chosen by value."""
    step = -(-count // MOST)
    return np.arange(0, count, max(step, 1))


def draw(x: NDArray[np.float64], y: NDArray[np.float64], names: tuple[str, str]) -> Figure:
    """Draw one point an episode.

    Args:
        x: (N,) foreground IoU of the first method in percent.
        y: (N,) of the second.
        names: of the two.
    """
    figure = make_figure(HALF - 0.72)
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.plot([0, 100], [0, 100], color=INK, alpha=0.5, linewidth=0.8)
    axes.plot(x, y, linestyle="", marker="o", markersize=3.6, color=COLOURS[0], alpha=0.6, markeredgewidth=0)
    axes.set_xlim(-2, 102)
    axes.set_ylim(-2, 102)
    across, up = shorten_labels(names, 26)
    draw_scales(axes, Scale(f"IoU of {across} (%)"), Scale(f"IoU of {up} (%)"))
    return figure
