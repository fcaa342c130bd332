"""Dot plot: one row per benchmark or method, with several dots and their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fssbench.api import Estimate

from .style import (
    Scale,
    draw_interval,
    draw_legend,
    draw_scales,
    make_figure,
    measure_room,
    pick_look,
    shorten_labels,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Dot:
    """One dot: an mIoU with its interval."""

    estimate: Estimate
    hollow: bool
    """Whether the mIoU has a mark."""


def draw(
    rows: Sequence[str],
    series: Mapping[str, Sequence[Dot | None]],
    *,
    span: tuple[float, float] | None = None,
    label: str = "mIoU (%)",
) -> Figure:
    """Draw dots with 95 % intervals.

    Args:
        rows: names, top to bottom.
        series: by method or shot, one dot a row, or None where there is none.
        span: ends of the axis, where figures share one.
        label: of the axis.
    """
    step = 0.17
    height = max(0.34, step * (len(series) + 0.9))
    labels = shorten_labels(rows, 26)
    figure = make_figure(height * len(rows), list(series), left=measure_room(labels))
    axes = figure.add_subplot()
    for m, dots in enumerate(series.values()):
        for row, dot in enumerate(dots):
            if dot is not None and math.isfinite(dot.estimate.value):
                place = row + (m - (len(series) - 1) / 2) * step / height
                draw_interval(axes, place, dot.estimate, pick_look(m), hollow=dot.hollow)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    for row in range(1, len(rows)):
        axes.axhline(row - 0.5, color="#7F7F7F", alpha=0.25, linewidth=0.5)
    axes.set_xlim(span)
    draw_scales(axes, Scale(label), Scale(ticks=(range(len(rows)), labels), grid=False))
    draw_legend(figure, list(series), [pick_look(m) for m in range(len(series))])
    return figure
