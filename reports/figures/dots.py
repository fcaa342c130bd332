"""Dot plot of one benchmark: one dot a method and shot, with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fssbench.api import Cell

from ..text import clean
from .style import COLOURS, INK, MARKERS, blank, plain, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(cells: tuple[Cell, ...]) -> Figure:
    """Draw mIoU with 95 % intervals, methods as rows; hollow where a number is marked.

    Args:
        cells: the cells of one benchmark.
    """
    from matplotlib.lines import Line2D

    labels = list(dict.fromkeys(map(_name, cells)))
    shots = sorted({cell.shot for cell in cells})
    figure = blank(7.2, 1.2 + 0.42 * len(labels))
    axes = figure.add_subplot()
    for cell in cells:
        nth = shots.index(cell.shot)
        place = labels.index(_name(cell)) + 0.26 * (nth - (len(shots) - 1) / 2)
        colour, shape = COLOURS[nth % len(COLOURS)], MARKERS[nth % len(MARKERS)]
        axes.plot([cell.miou.low, cell.miou.high], [place, place], color=colour, linewidth=1.6)
        axes.plot(
            [cell.miou.value],
            [place],
            color=colour,
            marker=shape,
            markersize=6,
            linestyle="",
            fillstyle="none" if cell.marks or cell.missing else "full",
        )
    axes.set_yticks(range(len(labels)), [short(label) for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlabel("mIoU (%)")
    plain(axes)
    keys = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], label=f"{k}-shot")
        for i, k in enumerate(shots)
    ]
    figure.legend(handles=keys, loc="outside upper left", ncols=len(keys), labelcolor=INK)
    return figure


def _name(cell: Cell) -> str:
    return f"{clean(cell.label)}, {clean(cell.backbone)}"
