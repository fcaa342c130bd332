"""Radar plot of one shot over benchmarks, after Figure 1 of the paper, with intervals and without areas.

Areas are not filled, because they depend on the order of the axes and have no meaning.  If a method has no number, its
line has a gap: nothing is drawn at zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fssbench.api import Estimate

from .style import HALF, INK, draw_legend, make_figure, pick_look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWEST_AXES, MOST_AXES = 4, 10
"""A radar of three axes shows nothing that the dots beside it do not."""
_STEP = 20


def find_end(values: Sequence[float]) -> int:
    """Return the end of the axes: the next full step above the largest value, at most 100.

    Example:
        >>> find_end([31.0, 64.2])
        80
    """
    finite = [v for v in values if math.isfinite(v)]
    return min(100, max(_STEP, _STEP * math.ceil(max(finite, default=0.0) / _STEP)))


def draw(axis_names: Sequence[str], series: Mapping[str, Sequence[Estimate | None]], end: int) -> Figure:
    """Draw it.

    Args:
        axis_names: 4 to 10 benchmarks.
        series: by method, one figure a benchmark in that order, or None where there is none.
        end: percent at the end of the axes; they start at 0.
    """
    figure = make_figure(HALF * 2.56 / 3.16, list(series), left=0.02, right=0.02, bottom=0.02)
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.axis("off")
    n = len(axis_names)
    _draw_web(axes, n, end)
    for i, name in enumerate(axis_names):
        x, y = _place(i, n, end * 1.05)
        side = "center" if abs(x) < 0.12 * end else "left" if x > 0 else "right"
        height = "bottom" if y > 0.5 * end else "top" if y < -0.5 * end else "center"
        axes.text(x, y, name, ha=side, va=height, fontsize=8)
    for m, values in enumerate(series.values()):
        mine = pick_look(m)
        for i, value in enumerate(values):
            if value is None or not math.isfinite(value.value):
                continue
            here, after = value.value, values[(i + 1) % n]
            if after is not None and math.isfinite(after.value):
                _draw_line(
                    axes,
                    _place(i, n, here),
                    _place(i + 1, n, after.value),
                    mine.colour,
                    1.4,
                    mine.line,
                )
            if math.isfinite(value.low):
                _draw_line(
                    axes,
                    _place(i, n, value.low),
                    _place(i, n, value.high),
                    mine.colour,
                    3.2,
                    "-",
                    alpha=0.35,
                )
            axes.plot(
                *([c] for c in _place(i, n, here)), color=mine.colour, marker=mine.marker, markersize=4.5
            )
    axes.set_xlim(-1.7 * end, 1.7 * end)
    axes.set_ylim(-1.28 * end, 1.28 * end)
    draw_legend(figure, list(series), [pick_look(m) for m in range(len(series))], lines=True)
    return figure


def _place(i: int, n: int, value: float) -> tuple[float, float]:
    angle = math.pi / 2 - 2 * math.pi * i / n
    return value * math.cos(angle), value * math.sin(angle)


def _draw_line(
    axes: Axes,
    a: tuple[float, float],
    b: tuple[float, float],
    colour: str,
    width: float,
    line: object,
    alpha: float = 1.0,
) -> None:
    axes.plot([a[0], b[0]], [a[1], b[1]], color=colour, linewidth=width, linestyle=line, alpha=alpha)


def _draw_web(axes: Axes, n: int, end: int) -> None:
    for ring in range(_STEP, end + 1, _STEP):
        corners = [_place(i, n, ring) for i in range(n + 1)]
        axes.plot(*zip(*corners, strict=True), color=INK, alpha=0.18, linewidth=0.6)
        (x, y), (u, v) = corners[-2], corners[0]  # between the last axis and the first: off every axis
        axes.text((x + u) / 2, (y + v) / 2, f"{ring}", fontsize=6.5, alpha=0.8, ha="center", va="center")
    for i in range(n):
        _draw_line(axes, (0.0, 0.0), _place(i, n, end), INK, 0.6, "-", alpha=0.18)
