"""Bars: foreground IoU of each class, one bar per method, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fssbench.api import Estimate

from .style import INK, Scale, draw_legend, draw_scales, make_figure, measure_room, pick_look, shorten_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(classes: Sequence[str], series: Mapping[str, Sequence[Estimate | None]]) -> Figure:
    """Draw it.

    Args:
        classes: names, top to bottom.
        series: by method, the IoU of each class in percent, or None where it has none.
    """
    thick = 0.12
    height = thick * len(series) + 0.12
    labels = shorten_labels(classes, 20)
    figure = make_figure(height * len(classes), list(series), left=measure_room(labels))
    axes = figure.add_subplot()
    for m, values in enumerate(series.values()):
        mine = pick_look(m)
        for row, value in enumerate(values):
            if value is None or not math.isfinite(value.value):
                continue
            place = row + (m - (len(series) - 1) / 2) * thick / height
            axes.barh(
                place, value.value, height=0.86 * thick / height, color=mine.colour, alpha=0.8, linewidth=0
            )
            if math.isfinite(value.low):
                axes.plot([value.low, value.high], [place, place], color=INK, linewidth=0.9)
            axes.plot([value.value], [place], color=mine.colour, marker=mine.marker, markersize=3.5)
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.set_xlim(left=0)
    draw_scales(
        axes,
        Scale("foreground IoU of the class (%)"),
        Scale(ticks=(range(len(classes)), labels), grid=False),
    )
    draw_legend(figure, list(series), [pick_look(m) for m in range(len(series))])
    return figure
