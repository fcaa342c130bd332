"""All figures of a report, in the order in which they are shown."""

from __future__ import annotations

from functools import partial

from fssbench.api import Cell, Results

from ..text import clean, thousands
from . import dots
from .drawing import Drawing, slug


def drawings(results: Results) -> tuple[Drawing, ...]:
    """Every figure that the results carry."""
    names = dict.fromkeys(cell.benchmark for cell in results.cells)
    return tuple(
        _dots(n, name, tuple(c for c in results.cells if c.benchmark == name))
        for n, name in enumerate(names, start=1)
    )


def _dots(number: int, benchmark: str, cells: tuple[Cell, ...]) -> Drawing:
    return Drawing(
        name=f"dots-{number}-{slug(benchmark)}",
        place=f"benchmark/{benchmark}",
        title=f"mIoU of each method on {clean(benchmark)}",
        caption=f"mIoU with 95 % interval; {basis(cells)}. Hollow: the number carries a mark.",
        make=partial(dots.draw, cells),
    )


def basis(cells: tuple[Cell, ...]) -> str:
    """On what a figure stands: episodes and protocol."""
    counts = sorted({cell.episodes for cell in cells})
    span = thousands(counts[0]) if len(counts) == 1 else f"{thousands(counts[0])} to {thousands(counts[-1])}"
    protocols = ", ".join(sorted({clean(cell.protocol) for cell in cells}))
    return f"{span} episodes a point, protocol {protocols}"
