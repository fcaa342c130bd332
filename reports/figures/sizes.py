"""IoU against the size of the object, one panel a shot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fssbench.api import Estimate

from .style import HALF, blank, keys, look, plain, whisker

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(
    bins: Sequence[str],
    counts: Mapping[int, Sequence[int]],
    series: Mapping[int, Mapping[str, Sequence[Estimate]]],
    methods: Sequence[str],
) -> Figure:
    """Draw it; a bin without an interval is a gap.

    Args:
        bins: names of the size bins, small to large.
        counts: by shot, episodes of each bin.
        series: by shot and method, IoU of each bin in percent.
        methods: all names, in the order of their looks.
    """
    figure = blank(HALF, 0.9 + 1.9 * len(series))
    panels = figure.subplots(len(series), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (shot, drawn) in zip(panels, series.items(), strict=True):
        for name, values in drawn.items():
            m = methods.index(name)
            shift = (m - (len(methods) - 1) / 2) * 0.13
            shown = [(i + shift, v) for i, v in enumerate(values) if math.isfinite(v.low)]
            for (a, left), (b, right) in zip(shown, shown[1:], strict=False):
                if b - a < 1.5:
                    axes.plot([a, b], [left.value, right.value], color=look(m).colour, linewidth=1, linestyle=look(m).line)
            for place, value in shown:
                whisker(axes, place, value, look(m), upright=True)
        axes.set_title(f"{shot}-shot")
        axes.set_ylabel("foreground IoU (%)")
        axes.set_xticks(range(len(bins)), [_tick(name, None) for name in bins])
        axes.set_xlim(-0.5, len(bins) - 0.5)
        axes.set_ylim(bottom=0)
        for i, n in enumerate(counts[shot]):
            axes.annotate(f"n={n:,}", (i, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=6.5, alpha=0.8)
        axes.title.set_position((0, 1.0))
        axes.set_title(f"{shot}-shot", pad=12)
        plain(axes, grid="y")
    panels[-1].set_xlabel("share of the image that the object covers (%)")
    keys(figure, list(methods), [look(m) for m in range(len(methods))], lines=True)
    return figure


def _tick(name: str, _: object) -> str:
    return name.removesuffix(" %").replace(" to ", "–").replace("below ", "<")
