"""Writes every figure of the report as SVG, PNG and PDF, for a paper or slides."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from fssbench.api import Reporter, Results

from ..figures.drawing import Drawing
from ..figures.saving import Kind
from ..sections.drawings import list_drawings


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
        return [captions, *(path for drawing in drawn for path in _write_files(drawing, home))]


def _write_files(drawing: Drawing, home: Path) -> list[Path]:
    paths = []
    for kind in get_args(Kind):
        path = home / f"{drawing.name}.{kind}"
        path.write_bytes(drawing.svg.encode() if kind == "svg" else drawing.render(kind))
        paths.append(path)
    return paths
