"""mIoU of each stratum of the episodes, such as object sizes, with one panel per shot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from fssbench.api import Estimate

from .radar import find_end
from .style import Scale, draw_interval, draw_legend, draw_scales, make_figure, pick_look

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(
    bins: Sequence[str],
    counts: Mapping[int, Sequence[int]],
    series: Mapping[int, Mapping[str, Sequence[Estimate]]],
    methods: Sequence[str],
    *,
    label: str = "share of the image that the object covers (%)",
) -> Figure:
    """Draw mIoU by stratum; a stratum without an interval is a gap.

    Args:
        bins: names of the strata, in their order.
        counts: by shot, episodes of each stratum.
        series: by shot and method, mIoU of each stratum in percent.
        methods: all names, in the order of their looks.
        label: of the axis below the strata.
    """
    figure = make_figure(1.9 * len(series), methods)
    figure.subplots_adjust(hspace=0.28, top=figure.subplotpars.top - 0.3 / figure.get_figheight())
    end = find_end([v.high for drawn in series.values() for values in drawn.values() for v in values])
    panels = figure.subplots(len(series), 1, squeeze=False)[:, 0]
    for axes, (shot, drawn) in zip(panels, series.items(), strict=True):
        for name, values in drawn.items():
            m = methods.index(name)
            shift = (m - (len(methods) - 1) / 2) * 0.13
            shown = [(i + shift, v) for i, v in enumerate(values) if math.isfinite(v.low)]
            for (a, left), (b, right) in pairwise(shown):
                if b - a < 1.5:
                    axes.plot(
                        [a, b],
                        [left.value, right.value],
                        color=pick_look(m).colour,
                        linewidth=1,
                        linestyle=pick_look(m).line,
                    )
            for place, value in shown:
                draw_interval(axes, place, value, pick_look(m), upright=True)
        axes.set_xlim(-0.5, len(bins) - 0.5)
        axes.set_ylim(0, end)
        for i, n in enumerate(counts[shot]):
            axes.annotate(
                f"n={n:,}",
                (i, 1),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="bottom",
                fontsize=6.5,
                alpha=0.8,
            )
        axes.set_title(f"{shot}-shot", pad=12)
        last = axes is panels[-1]
        draw_scales(
            axes,
            Scale(
                label if last else "",
                ticks=(range(len(bins)), [_format_tick(name) for name in bins]),
                grid=False,
                texts=last,
            ),
            Scale("mIoU (%)"),
        )
    draw_legend(figure, list(methods), [pick_look(m) for m in range(len(methods))], lines=True)
    return figure


def _format_tick(name: str) -> str:
    return name.removesuffix(" %").replace(" to ", "–").replace("below ", "<")
