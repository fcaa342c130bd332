"""The page as a reader meets it: by keyboard, with a screen reader, and with its doubts beside its figures."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fssbench.reports.formats.html import pad_decimals, render_page
from report_factory import make_cell, make_run

from fssbench.api import Results


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


def test_a_screen_reader_finds_its_way(whole_page: Path) -> None:
    text = whole_page.read_text(encoding="utf-8")
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


def test_the_marks_stand_at_top_and_bottom_and_at_every_figure(whole_page: Path) -> None:
    text = whole_page.read_text(encoding="utf-8")
    assert text.count('<ul class="marks">') == 2
    cells = re.findall(r'<td class="number[^"]*" data-what="(\w[\w-]*)"[^>]*>(.*?)</td>', text, re.DOTALL)
    assert len(cells) > 100
    for what, inside in cells:
        if what != "episodes" and re.search(r"\d", inside):
            assert "M" in "".join(re.findall(r"<sup>(\w+)</sup>", inside)), (what, inside)


def test_every_figure_says_on_how_much_it_stands(whole_page: Path) -> None:
    text = whole_page.read_text(encoding="utf-8")
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
