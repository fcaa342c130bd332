"""The summary figure: one dot a method and shot, with its interval, as inline SVG."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

from fssbench.api import Cell

from .text import clean

_INK = "#010203"
"""Stands for the page's text colour; replaced by `currentColor`, so that the figure fits a dark page."""
_SHOT_STYLE = {1: ("#c2571a", "o"), 5: ("#1f77b4", "s")}
_LONGEST = 34


def dot_plot(cells: tuple[Cell, ...], *, name: str) -> str:
    """Draw mIoU with 95 % intervals, methods as rows; hollow where a number is marked.

    Args:
        cells: the cells of one benchmark.
        name: prefix of all ids in the drawing, unique on the page.

    Returns:
        One `<svg>` element without scripts, metadata or addresses; equal cells give equal text.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(_name(cell) for cell in cells))
    shots = sorted({cell.shot for cell in cells})
    settings: dict[Any, Any] = {
        "svg.hashsalt": "fssbench",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a label may hold glyphs matplotlib's own font lacks
        figure = Figure(figsize=(7.2, 0.9 + 0.42 * len(labels)), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for cell in cells:
            place = labels.index(_name(cell)) + 0.26 * (shots.index(cell.shot) - (len(shots) - 1) / 2)
            colour, shape = _style(cell.shot)
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
        axes.set_yticks(range(len(labels)), labels, parse_math=False)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlabel("mIoU (%)")
        axes.grid(axis="x", color=_INK, alpha=0.18, linewidth=0.6)
        axes.tick_params(colors=_INK, length=0)
        axes.xaxis.label.set_color(_INK)
        axes.spines[:].set_visible(False)
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _inline(drawn.getvalue(), name)


def shots_legend(cells: tuple[Cell, ...]) -> list[tuple[str, str]]:
    """Label and colour of each shot in the figure."""
    return [(f"{shot}-shot", _style(shot)[0]) for shot in sorted({c.shot for c in cells})]


def _style(shot: int) -> tuple[str, str]:
    return _SHOT_STYLE.get(shot, ("#6a51a3", "D"))


def _name(cell: Cell) -> str:
    text = f"{clean(cell.label)}, {clean(cell.backbone)}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _inline(svg: str, name: str) -> str:
    """Strip what a page must not hold twice or point out with, and make ids the page's own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg [^>]*?)\swidth="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?)\sheight="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", svg)
    svg = re.sub(r'\sid="([^"]+)"', rf' id="{name}-\1"', svg)
    svg = re.sub(r'xlink:href="#', f'href="#{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    return svg.replace(_INK, "currentColor").strip()
