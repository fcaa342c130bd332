"""Writes every figure of the report as SVG, PNG and PDF, for a paper or slides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from fssbench.api import Fork, Reporter, Results

from ..figures.drawing import Drawing
from ..figures.saving import Kind
from ..figures.style import apply_style
from ..sections.drawings import list_drawings

_MANY = 12
"""Fewest drawings that two processes write."""


class FigureReporter(Reporter):
    """Writes `figures/`: each figure in three formats, and the captions that belong to them."""

    name = "figures"
    title = "Every figure as SVG, PNG (200 dpi) and PDF"

    def write(self, results: Results, folder: Path) -> list[Path]:
        """Write `figures/NAME.svg`, `.png` and `.pdf`, and `figures/captions.txt`.

        Equal results give equal bytes.  Each file also contains title and caption as metadata.
        """
        home = folder / "figures"
        home.mkdir(exist_ok=True)
        drawn = list_drawings(results)
        captions = home / "captions.txt"
        captions.write_text(
            "".join(f"{d.name}\n{d.title}.\n{d.caption}\n\n" for d in drawn), encoding="utf-8", newline="\n"
        )
        with apply_style():
            pass  # matplotlib is imported before the fork, not in both processes
        for drawing, text in zip(drawn, _write_all(drawn, home), strict=True):
            drawing.keep_svg(text)
        return [captions, *(home / f"{drawing.name}.{kind}" for drawing in drawn for kind in get_args(Kind))]


def _write_all(drawn: Sequence[Drawing], home: Path) -> list[str]:
    """Write the files of all drawings, those of every second one in another process; return their SVG texts."""
    with Fork(
        lambda: [_write_files(each, home) for each in drawn[1::2]], wanted=len(drawn) >= _MANY
    ) as others:
        here = [_write_files(each, home) for each in drawn[::2]]
        there = others.result()
    return [(there if place % 2 else here)[place // 2] for place in range(len(drawn))]


def _write_files(drawing: Drawing, home: Path) -> str:
    for kind in get_args(Kind):
        path = home / f"{drawing.name}.{kind}"
        path.write_bytes(drawing.svg.encode() if kind == "svg" else drawing.render(kind))
    return drawing.svg
