"""The page in a browser: on a phone and a wide screen, in the dark, and what its filters show.

The browser starts twice for all tests: with the page itself, and with a page that asks frames of two widths.
"""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import browse, needs_browser
from PIL import Image

PHONE, WIDE = WIDTHS = (390, 1400)
PROBE = """
function look(frame) {
  const page = frame.contentDocument, root = page.documentElement, width = frame.clientWidth;
  const loose = [...page.querySelectorAll("body *")].filter(e => !e.closest(".scroll, svg, .skip"));
  const out = loose.filter(e => e.getBoundingClientRect().right > width + 1);
  const boxes = [...page.querySelectorAll(".scroll")];
  const style = e => frame.contentWindow.getComputedStyle(e);
  const width_of = name => page.querySelector(name).getBoundingClientRect().width;
  return {
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
    filters: filter(frame),
  };
}
function filter(frame) {
  const page = frame.contentDocument, first = page.querySelector(".gallery"), told = {};
  const seen = what => [...first.querySelectorAll(what)].filter(e => e.getClientRects().length).length;
  const pick = (what, on) => { first.querySelector(what).checked = on; };
  told.all = seen(".example");
  pick(".f-c1", true);
  told.class = [seen(".example:not(.c1)"), seen(".example.c1")];
  first.querySelector("input[name^=class]").checked = true;
  told.again = seen(".example");
  pick(".f-m1", false);
  told.methods = [seen(".m1"), seen(".m0"), seen(".m2")];
  pick(".f-k-worst", true);
  told.choice = [seen(".example:not(.k-worst)"), seen(".example.k-worst")];
  told.overflow = page.documentElement.scrollWidth - frame.clientWidth;
  const over = page.querySelector(".over");
  told.over = frame.contentWindow.getComputedStyle(over).backgroundImage.startsWith("url");
  const radio = first.querySelector("input[name^=choice]");
  radio.focus({ preventScroll: true });
  told.focus = page.activeElement === radio;
  return told;
}
const frames = [...document.querySelectorAll("iframe")], answers = {};
for (const frame of frames) {
  frame.onload = () => {
    answers[frame.width] = look(frame);
    document.getElementById("out").textContent = JSON.stringify(answers);
  };
  frame.srcdoc = TEXT;
}
"""

pytestmark = [needs_browser, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def light(whole_page: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, float]:
    """Elements of the page, and how light it is, of 255."""
    folder = tmp_path_factory.mktemp("light")
    flags = (f"--screenshot={folder / 'shot.png'}", "--window-size=800,1200")
    elements = browse(whole_page, folder / "profile", *flags)
    return elements, measure_lightness(folder / "shot.png")


@pytest.fixture(scope="module")
def frames(whole_page: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What frames of two widths say about the page in them, by width, and how light it is where dark is preferred.

    The page itself has no script, so the page around it asks.
    """
    folder = tmp_path_factory.mktemp("frames")
    text = json.dumps(whole_page.read_text(encoding="utf-8"))
    text = text.replace("</", "<\\/").replace("<!--", "<\\!--")
    boxes = [f'<iframe width="{width}" height="900" style="border:0"></iframe>' for width in WIDTHS]
    wrapper = folder / "frames.html"
    wrapper.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">{boxes[1]}{boxes[0]}<pre id="out"></pre>'
        f"<script>{PROBE.replace('TEXT', text)}</script>",
        encoding="utf-8",
    )
    dark = ("--force-dark-mode", "--blink-settings=preferredColorScheme=0")
    shot = (f"--screenshot={folder / 'shot.png'}", f"--window-size={WIDE},900")
    elements = browse(wrapper, folder / "profile", "--virtual-time-budget=8000", *dark, *shot)
    result = re.search(r'<pre id="out">(\{.*?\})</pre>', elements, re.DOTALL)
    assert result, elements[-300:]
    answers: dict[str, Any] = json.loads(unescape(result[1]))
    return answers | {"lightness": measure_lightness(folder / "shot.png")}


def measure_lightness(picture: Path) -> float:
    with Image.open(picture) as image:
        return float(np.asarray(image.convert("L")).mean())


def test_it_is_shown_whole_without_complaint(light: tuple[str, float]) -> None:
    elements, _ = light
    assert "<title>fssbench report</title>" in elements
    assert "skip" in elements


def test_it_is_dark_where_dark_is_preferred(light: tuple[str, float], frames: dict[str, Any]) -> None:
    assert light[1] > 200
    assert frames["lightness"] < 80


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_sticks_out_and_wide_tables_scroll_in_their_boxes(frames: dict[str, Any], width: int) -> None:
    seen = frames[str(width)]
    assert seen["overflow"] <= 0, seen
    assert seen["out"] == []
    assert seen["reached"]
    assert seen["sticky"]
    assert seen["fonts"] == 2
    assert seen["requests"] == 0
    assert seen["scrolled"] > 0 or width > PHONE
    assert seen["wide"] > 0.95 or width < WIDE
    assert seen["plot"] >= min(320, width - 40)


@pytest.mark.parametrize("width", WIDTHS)
def test_filters_of_the_gallery_show_what_is_chosen(frames: dict[str, Any], width: int) -> None:
    told = frames[str(width)]["filters"]
    shown = told["all"]
    assert shown > 3
    for hidden, left in (told["class"], told["choice"]):
        assert hidden == 0
        assert 0 < left < shown
    assert told["again"] == shown
    assert told["methods"] == [0, shown, shown]
    assert told["over"]
    assert told["focus"]
    assert told["overflow"] <= 0
