"""Figures as files: every figure in three formats, equal bytes for equal results, words inside."""

from __future__ import annotations

import contextlib
import io
import re
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from fontTools.pens.recordingPen import RecordingPen
from fontTools.ttLib import TTFont
from fssbench.reports.figures import bars, costs, dots, radar, scatter, sizes, style
from fssbench.reports.figures.pdf_fonts import cut_fonts_quickly
from fssbench.reports.formats.figure_files import FigureReporter
from fssbench.reports.formats.html import HtmlReporter
from fssbench.reports.sections.drawings import list_drawings
from matplotlib.figure import Figure
from PIL import Image
from report_factory import make_cell, make_run, make_small_results

from fssbench.api import Results


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders with the page and the figures of equal results, each drawn anew."""
    folders = [tmp_path_factory.mktemp("small") for _ in range(2)]
    for folder in folders:
        results = make_small_results(folder / "runs")
        FigureReporter().write(results, folder)
        HtmlReporter().write(results, folder)
    return folders


@pytest.fixture(scope="module")
def written(small: list[Path]) -> list[Path]:
    return sorted((small[0] / "figures").iterdir())


def test_every_figure_of_the_report_in_three_formats(written: list[Path]) -> None:
    names = {drawing.name for drawing in list_drawings(make_small_results(Path("nowhere")))}
    assert {p.name for p in written} == {f"{n}.{kind}" for n in names for kind in ("svg", "png", "pdf")} | {
        "captions.txt"
    }
    for path in written:
        head = path.read_bytes()[:8]
        if path.suffix == ".pdf":
            assert head.startswith(b"%PDF-")
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
                assert image.convert("RGBA").getpixel((1, 1)) == (255, 255, 255, 255)
        if path.suffix == ".svg":
            assert ElementTree.fromstring(path.read_text()).tag.endswith("svg")


def test_captions_are_beside_the_figures_and_in_them(written: list[Path]) -> None:
    captions = next(p for p in written if p.name == "captions.txt").read_text()
    for drawing in list_drawings(make_small_results(Path("nowhere"))):
        assert f"{drawing.name}\n{drawing.title}.\n{drawing.caption}\n" in captions
        if drawing.place.startswith("summary/"):
            assert re.search(r"episodes per point, 95 % intervals, protocol published/1", drawing.caption)
        folder = written[0].parent
        with Image.open(folder / f"{drawing.name}.png") as image:
            assert image.info["Description"] == drawing.caption
        assert b"/Subject" in (folder / f"{drawing.name}.pdf").read_bytes()


def test_equal_results_give_equal_bytes_without_a_date(small: list[Path]) -> None:
    first, second = ({p.name: p.read_bytes() for p in (folder / "figures").iterdir()} for folder in small)
    assert len(first) > 12
    assert first == second
    for content in first.values():
        assert not re.search(rb"CreationDate|dc:date|matplotlib\.org|Matplotlib v", content)


def test_equal_results_give_equal_pages(small: list[Path]) -> None:
    first, second = ((folder / "report.html").read_bytes() for folder in small)
    assert first == second


@pytest.mark.parametrize("text", ["../../up\x00\n", "a" * 400, "é:\\c", "</svg><script>"])
def test_hostile_names_stay_in_the_folder_and_in_words(text: str, tmp_path: Path) -> None:
    run = make_run(label=text, backbone=text, benchmark=text)
    results = Results((run,), (make_cell([run]),), 200, 0)
    for path in FigureReporter().write(results, tmp_path):
        assert path.parent == tmp_path / "figures"
        assert re.fullmatch(r"[A-Za-z0-9-]{1,200}\.(svg|png|pdf|txt)", path.name)
        if path.suffix == ".svg":
            tags = {str(e.tag).rpartition("}")[2] for e in ElementTree.fromstring(path.read_text()).iter()}
            assert "script" not in tags


def test_each_figure_is_drawn_once_for_page_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []
    make_figure = style.make_figure

    def count_figure(height: float, *args: Any, **named: Any) -> Any:
        drawn.append(height)
        return make_figure(height, *args, **named)

    for module in (bars, costs, dots, radar, scatter, sizes):
        monkeypatch.setattr(module, "make_figure", count_figure)
    results = make_small_results(tmp_path / "runs")
    FigureReporter().write(results, tmp_path)
    HtmlReporter().write(results, tmp_path)
    assert len(drawn) == len(list_drawings(results))


def embedded_fonts(pdf: bytes) -> list[TTFont]:
    fonts = []
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, flags=re.DOTALL):
        with contextlib.suppress(zlib.error):
            data = zlib.decompress(stream)
            if data.startswith(b"\x00\x01\x00\x00"):
                fonts.append(TTFont(io.BytesIO(data)))
    return fonts


def test_pdf_embeds_its_fonts_without_tables_for_shaping(written: list[Path]) -> None:
    files = [path for path in written if path.suffix == ".pdf"]
    fonts = [font for path in files for font in embedded_fonts(path.read_bytes())]
    assert len(fonts) >= len(files)
    for font in fonts:
        assert not {"GSUB", "GPOS", "GDEF"} & set(font.keys())
        assert {"glyf", "hmtx", "cmap"} <= set(font.keys())


@pytest.mark.parametrize(
    ("texts", "weights"),
    [
        (("pmnet 12.5 −3", "office, flow, é", "\x01"), ("normal", "bold")),  # of the Latin glyphs alone
        (("Жук α ≥", "日本 x"), ("normal",)),
    ],
    ids=["Latin", "other"],
)
def test_pdf_has_the_same_glyphs_at_the_same_places_as_from_matplotlib(
    texts: tuple[str, ...], weights: tuple[str, ...]
) -> None:
    def write(context: Any) -> bytes:
        figure, file = Figure(figsize=(3, 1)), io.BytesIO()
        for place, weight in zip((0.2, 0.6), weights, strict=False):
            for line, text in enumerate(texts):
                figure.text(0.1, place + 0.1 * line, text, weight=weight)
        with style.apply_style(), context:
            figure.savefig(file, format="pdf", metadata={"CreationDate": None})
        return file.getvalue()

    def read(pdf: bytes) -> tuple[list[Any], list[bytes]]:
        outlines = []
        for font in embedded_fonts(pdf):
            glyphs = font.getGlyphSet()
            for name in font.getGlyphOrder():
                pen = RecordingPen()
                glyphs[name].draw(pen)
                outlines.append((name, glyphs[name].width, pen.value))
        streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, flags=re.DOTALL)
        whole = [zlib.decompress(s) for s in streams if s.startswith(b"x")]
        return outlines, [stream for stream in whole if not stream.startswith(b"\x00\x01\x00\x00")]

    assert read(write(cut_fonts_quickly())) == read(write(contextlib.nullcontext()))
