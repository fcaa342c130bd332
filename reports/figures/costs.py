"""Draws the scores of methods against their costs, one small panel per kind of cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fssbench.api import Estimate

from .style import Scale, draw_interval, draw_legend, draw_scales, make_figure, pick_look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL_HEIGHT = 1.45
"""Height of one panel, in inches."""
_GAP = 0.5
"""Space between two rows of panels for the labels of their axes, in inches."""

AXES = {
    "learnable": "learnable parameters (M)",
    "flops": "GFLOPs per episode",
    "ms": "ms per episode",
    "memory": "peak memory (MiB)",
}
"""Label of the axis of each kind of cost."""


@dataclass(frozen=True)
class Point:
    """The score and the costs of one method."""

    estimate: Estimate
    hollow: bool
    """Whether the score has a mark, or the times are unstable."""
    costs: dict[str, float]
    """Known costs, by axis."""
    quartiles: tuple[float, float] | None
    """Lower and upper quartile of the milliseconds per episode."""


def draw(points: Mapping[str, Point]) -> Figure:
    """Draw mIoU with its 95 % interval against each kind of cost that is known for at least two methods.

    Args:
        points: score and costs of each method.
    """
    axes = [name for name in AXES if sum(name in p.costs for p in points.values()) > 1]
    rows = -(-len(axes) // 2)
    figure = make_figure(rows * _PANEL_HEIGHT + (rows - 1) * _GAP, list(points))
    figure.subplots_adjust(wspace=0.16, hspace=_GAP / _PANEL_HEIGHT)
    for n, name in enumerate(axes):
        panel = figure.add_subplot(rows, 2, n + 1)
        shown = _draw_points(panel, name, points)
        first = n % 2 == 0
        up = Scale("mIoU (%)" if first else "", texts=first)
        draw_scales(panel, Scale(AXES[name], ticks=shown), up, size=8)
    draw_legend(figure, list(points), [pick_look(m) for m in range(len(points))])
    return figure


def _draw_points(panel: Axes, name: str, points: Mapping[str, Point]) -> tuple[list[float], list[str]]:
    """Draw the points of one panel and set its limits; return the positions and labels of its ticks."""
    costs = [p.costs[name] for p in points.values() if name in p.costs]
    shown = _set_cost_limits(panel, costs)
    for m, point in enumerate(points.values()):
        if name not in point.costs:
            continue
        draw_interval(
            panel, point.costs[name], point.estimate, pick_look(m), hollow=point.hollow, upright=True
        )
        if name == "ms" and point.quartiles:
            panel.plot(point.quartiles, [point.estimate.value] * 2, color=pick_look(m).colour, linewidth=1.0)
    ends = [v for p in points.values() for v in (p.estimate.low, p.estimate.high, p.estimate.value) if v == v]
    room = 0.06 * (max(ends) - min(ends)) or 1.0
    panel.set_ylim(min(ends) - room, max(ends) + room)
    return shown, [f"{tick:g}" for tick in shown]


def _set_cost_limits(panel: Axes, costs: list[float]) -> list[float]:
    """Make the axis logarithmic and return its ticks.  Zero has no logarithm and is drawn at the left end."""
    positive = [c for c in costs if c > 0]
    if not positive:
        return [0.0]
    low, high = min(positive) / 1.4, max(positive) * 1.4
    if len(positive) < len(costs):
        panel.set_xscale("symlog", linthresh=low)
        panel.set_xlim(-0.3 * low, high)
    else:
        panel.set_xscale("log")
        panel.set_xlim(low, high)
    marks = choose_ticks(low, high)
    zero = [0.0] if len(positive) < len(costs) else []
    return [*zero, *marks]


def choose_ticks(low: float, high: float) -> list[float]:
    """Return at most four round numbers between two positive numbers.

    Example:
        >>> choose_ticks(0.7, 30), choose_ticks(3, 4)
        ([1.0, 10.0], [3.0, 3.5, 4.0])
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = [float(f"1e{e}") for e in range(first, last + 1)]
    for steps in (
        (1.0,),
        (1.0, 3.0),
        (1.0, 2.0, 5.0),
        tuple(np.arange(2, 20) / 2),
        tuple(np.arange(10, 100) / 10),
    ):
        places = [round(float(m) * d, 12) for d in decades for m in steps if low <= m * d <= high]
        if len(places) > 1:
            return places[:: -(-len(places) // 4)]
    return [float(f"{math.sqrt(low * high):.3g}")]
