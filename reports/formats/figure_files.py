"""Every figure of the report as SVG, PNG and PDF, for a paper or slides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fssbench.api import Reporter, Results

from ..figures.drawing import Drawing
from ..figures.style import applied
from ..sections.drawings import drawings

DPI = 200
"""Of PNG files."""


class FigureReporter(Reporter):
    """`figures/`: each figure in three formats, and the captions they must not be shown without."""

    name = "figures"
    title = "Every figure as SVG, PNG (200 dpi) and PDF"

    def write(self, results: Results, folder: Path) -> list[Path]:
        """Write `figures/NAME.svg`, `.png` and `.pdf`, and `figures/captions.txt`.

        Equal results give equal bytes; title and caption are in each file's own metadata too.
        """
        home = folder / "figures"
        home.mkdir(exist_ok=True)
        found = drawings(results)
        captions = home / "captions.txt"
        captions.write_text(
            "".join(f"{d.name}\n{d.title}.\n{d.caption}\n\n" for d in found), encoding="utf-8", newline="\n"
        )
        return [captions, *(path for drawing in found for path in _written(drawing, home))]


def _written(drawing: Drawing, home: Path) -> list[Path]:
    paths = []
    with applied():
        figure = drawing.make()
        figure.patch.set_visible(True)  # black ink on nothing is invisible on a dark slide
        figure.patch.set_facecolor("white")
        for kind, words in _metadata(drawing).items():
            path = home / f"{drawing.name}.{kind}"
            _canvas(kind)(figure)
            figure.savefig(path, format=kind, dpi=DPI, metadata=words)
            paths.append(path)
    return paths


def _metadata(drawing: Drawing) -> dict[str, dict[str, Any]]:
    """What each format records: words of ours, and nothing of the day or the machine."""
    return {
        "svg": {"Title": drawing.title, "Description": drawing.caption, "Date": None, "Creator": None},
        "png": {"Title": drawing.title, "Description": drawing.caption, "Software": None},
        "pdf": {
            "Title": drawing.title,
            "Subject": drawing.caption,
            "CreationDate": None,
            "Creator": None,
            "Producer": None,
        },
    }


def _canvas(kind: str) -> type[Any]:
    """The canvas of a format, so that no display and no global state is touched."""
    if kind == "svg":
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        return FigureCanvasSVG
    if kind == "pdf":
        from matplotlib.backends.backend_pdf import FigureCanvasPdf

        return FigureCanvasPdf
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    return FigureCanvasAgg
