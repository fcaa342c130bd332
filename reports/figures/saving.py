"""Writes a figure as the bytes of an SVG, PNG or PDF file, without a display, global state, date or machine name."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

from .style import apply_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 200
"""Dots per inch of PNG files."""
Kind = Literal["svg", "png", "pdf"]
_RUN_LENGTHS = 3
"""zlib's strategy for long runs of one value: flat drawings are written in half the time."""


def render_figure(figure: Figure, kind: Kind, title: str, caption: str) -> bytes:
    """Return the file of a figure; equal figures give equal bytes.

    Args:
        figure: the figure; its canvas is replaced.
        kind: the format.
        title: for the file's metadata.
        caption: for the file's metadata.
    """
    words = {
        "svg": {"Title": title, "Description": caption, "Date": None, "Creator": None},
        "png": {"Title": title, "Description": caption, "Software": None},
        "pdf": {"Title": title, "Subject": caption, "CreationDate": None, "Creator": None, "Producer": None},
    }
    file = io.BytesIO()
    options: dict[str, Any] = {"pil_kwargs": {"compress_type": _RUN_LENGTHS}} if kind == "png" else {}
    with apply_style(), _list_fonts(kind):
        _find_canvas(kind)(figure)
        figure.savefig(file, format=kind, dpi=DPI, metadata=words[kind], **options)
    return file.getvalue()


def _list_fonts(kind: Kind) -> AbstractContextManager[None]:
    if kind != "pdf":
        return nullcontext()
    from .pdf_fonts import cut_fonts_quickly

    return cut_fonts_quickly()


def _find_canvas(kind: Kind) -> type[Any]:
    if kind == "svg":
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        return FigureCanvasSVG
    if kind == "pdf":
        from matplotlib.backends.backend_pdf import FigureCanvasPdf

        return FigureCanvasPdf
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    return FigureCanvasAgg
