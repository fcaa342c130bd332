"""The page as a reader meets it: in a browser, on a phone, in the dark, by keyboard."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fssbench.reports.formats.html import HtmlReporter, pad_decimals, render_page
from PIL import Image
from report_factory import make_cell, make_results, make_run

from fssbench.api import Results

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(not BROWSER, reason="no chromium here")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (path,) = HtmlReporter().write(make_results(folder=folder / "runs", marks=("miniature",)), folder)
    return path


def browse(profile: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
    ]
    command += ["--hide-scrollbars", "--disable-background-networking", "--disable-component-update"]
    command += ["--disable-sync", "--enable-logging=stderr", f"--user-data-dir={profile}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=True)


PROBE = """
const frame = document.getElementById("frame");
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement, width = frame.clientWidth;
  const loose = [...page.querySelectorAll("body *")].filter(e => !e.closest(".scroll, svg, .skip"));
  const out = loose.filter(e => e.getBoundingClientRect().right > width + 1);
  const boxes = [...page.querySelectorAll(".scroll")];
  const style = e => frame.contentWindow.getComputedStyle(e);
  const width_of = name => page.querySelector(name).getBoundingClientRect().width;
  document.getElementById("out").textContent = JSON.stringify({
    overflow: root.scrollWidth - width,
    out: out.slice(0, 3).map(e => e.outerHTML.slice(0, 120)),
    scrolled: boxes.filter(e => e.scrollWidth > e.clientWidth + 1).length,
    reached: boxes.every(e => e.tabIndex === 0 && e.getAttribute("aria-label")),
    sticky: [...page.querySelectorAll(".main tbody:not(.paper) th")].every(e => style(e).position === "sticky"),
    fonts: [...new Set([...page.querySelectorAll("body *")].map(e => style(e).fontFamily))].length,
    wide: width_of("#summary table.main") / width_of("#main"),
    plot: Math.min(...[...page.querySelectorAll("figure.plot")].map(e => e.getBoundingClientRect().width)),
    requests: frame.contentWindow.performance.getEntriesByType("resource")
      .filter(e => !e.name.startsWith("data:")).length,
  });
};
frame.srcdoc = TEXT;
"""


def probe(page: Path, folder: Path, width: int) -> dict[str, Any]:
    """What a frame of some width says about the page in it; the page itself has no script."""
    text = json.dumps(page.read_text(encoding="utf-8")).replace("</", "<\\/").replace("<!--", "<\\!--")
    wrapper = folder / f"frame-{width}.html"
    wrapper.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><iframe id="frame" width="{width}" height="900" style="border:0">'
        f'</iframe><pre id="out"></pre><script>{PROBE.replace("TEXT", text)}</script>',
        encoding="utf-8",
    )
    answer = browse(folder / "profile", "--virtual-time-budget=8000", "--dump-dom", wrapper.as_uri())
    assert "CONSOLE" not in answer.stderr, answer.stderr[-2000:]
    result = re.search(r'<pre id="out">(\{.*?\})</pre>', answer.stdout, re.DOTALL)
    assert result, answer.stdout[-300:]
    seen: dict[str, Any] = json.loads(
        result[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    )
    return seen


@needs_browser
@pytest.mark.timeout(240)
@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_sticks_out_and_wide_tables_scroll_in_their_boxes(
    page: Path, tmp_path: Path, width: int
) -> None:
    seen = probe(page, tmp_path, width)
    assert seen["overflow"] <= 0, seen
    assert seen["out"] == []
    assert seen["reached"]
    assert seen["sticky"]
    assert seen["fonts"] == 2
    assert seen["requests"] == 0
    assert seen["scrolled"] > 0 or width > 390
    assert seen["wide"] > 0.95 or width < 1400
    assert seen["plot"] >= min(320, width - 40)


@needs_browser
@pytest.mark.timeout(240)
def test_it_is_dark_where_dark_is_preferred(page: Path, tmp_path: Path) -> None:
    shades = {}
    for name, flags in {
        "light": (),
        "dark": ("--force-dark-mode", "--blink-settings=preferredColorScheme=0"),
    }.items():
        shot = tmp_path / f"{name}.png"
        browse(
            tmp_path / f"p-{name}", *flags, f"--screenshot={shot}", "--window-size=800,1200", page.as_uri()
        )
        with Image.open(shot) as image:
            shades[name] = float(np.asarray(image.convert("L")).mean())
    assert shades["light"] > 200
    assert shades["dark"] < 80


class Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.levels: list[int] = []
        self.tags: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.tables = self.captions = 0
        self.headers: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if re.fullmatch(r"h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if tag == "svg":
            self.images.append(dict(attrs))
        if tag == "th":
            self.headers.append(dict(attrs))


def test_a_screen_reader_finds_its_way(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    outline = Outline()
    outline.feed(text)
    assert outline.levels[0] == 1
    assert outline.levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(outline.levels, outline.levels[1:], strict=False))
    assert {"header", "nav", "main", "section"} <= set(outline.tags)
    assert outline.tags.index("a") < outline.tags.index("header")  # the skip link comes first
    assert 'href="#main"' in text
    assert outline.tags.count("table") == outline.tags.count("caption")
    assert all(h.get("scope") in {"col", "row", "colgroup", "rowgroup"} for h in outline.headers)
    assert outline.images
    for image in outline.images:
        named = str(image["aria-labelledby"]).split()
        assert image["role"] == "img"
        assert all(f'id="{name}"' in text for name in named)
    assert "prefers-reduced-motion" in text
    assert ":focus-visible" in text


def test_the_marks_stand_at_top_and_bottom_and_at_every_figure(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count('<ul class="marks">') == 2
    cells = re.findall(r'<td class="number[^"]*" data-what="(\w[\w-]*)"[^>]*>(.*?)</td>', text, re.DOTALL)
    assert len(cells) > 100
    for what, inside in cells:
        if what != "episodes" and re.search(r"\d", inside):
            assert "M" in "".join(re.findall(r"<sup>(\w+)</sup>", inside)), (what, inside)


def test_every_figure_says_on_how_much_it_stands(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text.partition('id="episodes"')[0], re.DOTALL)
    assert len(captions) >= 9
    for caption in captions:
        told = r"\d episodes( per point, 95 % intervals| in all, 95 % intervals|), protocol published/1"
        assert re.search(told, caption), caption
        assert "95 % intervals" in caption or re.search(r"\[[+−]\d+\.\d, [+−]\d+\.\d\] points", caption), (
            caption
        )
        assert "Not benchmark figures: miniature" in caption


def test_one_method_alone_makes_a_page() -> None:
    run = make_run(
        benchmark="pascal-to-isic2018:isic1",
        classes=(0,),
        class_names=("lesion",),
        class_ids=make_run().class_ids * 0,
    )
    cell = make_cell([run])
    text = render_page(Results((run,), (cell,), 200, 0))
    assert "nothing is compared" in text
    assert 'id="comparison"' not in text
    assert 'id="ablations"' not in text


@pytest.mark.parametrize(
    ("text", "decimals", "blanks"),
    [
        ("2.6", 2, 1),
        ("36.55", 2, 0),
        ("12", 2, 3),
        ("–", 2, 0),
        ("12", 0, 0),
        ("[1.5, 2.5]", 2, 1),
        ("", 1, 0),
    ],
)
def test_points_stand_below_each_other(text: str, decimals: int, blanks: int) -> None:
    assert pad_decimals(text, decimals) == text + "\u2007" * blanks
