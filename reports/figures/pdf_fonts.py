"""Fonts of PDF files, cut to the glyphs in use in a fraction of the time.

matplotlib reads and cuts a font of thousands of glyphs anew for every PDF file, which takes longer than to draw the
figure.  Here a font is cut to its Latin glyphs once per process, and each file is cut from these.  A file with other
glyphs is cut from the whole font, so what a reader sees never depends on this.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fontTools import subset
from fontTools.ttLib import TTFont

_LATIN = frozenset([*range(0x20, 0x7F), *range(0xA0, 0x100), *map(ord, "‐‑–—‘’“”•…−×≤≥≠→ﬀﬁﬂﬃﬄ")])
"""Characters whose glyphs are cut out first: those of nearly all labels, with the ligatures between them."""
_SHAPING_TABLES = ("GSUB", "GPOS", "GDEF", "MATH", "kern")
"""Tables that shape text.  A PDF file places each glyph itself and never reads them."""
_AS_STORED = {"recalcBBoxes": False, "recalcTimestamp": False, "lazy": True}
"""A font keeps its measures and its date, as in matplotlib."""


@dataclass(frozen=True)
class _LatinGlyphs:
    """The Latin part of a font."""

    font: bytes
    """A font file with the Latin glyphs alone."""
    numbers: dict[int, int]
    """Number of each of its glyphs in this file, by the glyph's number in the whole font."""


@contextmanager
def cut_fonts_quickly() -> Iterator[None]:
    """Context in which matplotlib cuts the fonts of PDF files in the way of this module."""
    load_font, subsetter = subset.load_font, subset.Subsetter
    subset.load_font, subset.Subsetter = _LatinFont, _LatinFirstSubsetter
    try:
        yield
    finally:
        subset.load_font, subset.Subsetter = load_font, subsetter


class _LatinFont(TTFont):  # type: ignore[misc]
    """The Latin glyphs of a font, until the whole font is asked for.

    Args:
        file: path of the whole font.
        options: of the subsetter.
    """

    def __init__(self, file: Any, options: Any, **_: Any) -> None:
        self._whole = (str(file), options)
        self.latin = _cut_latin_glyphs(str(file), options.font_number)
        super().__init__(io.BytesIO(self.latin.font), **_AS_STORED)

    def read_whole(self) -> None:
        """Hold all glyphs of the font."""
        file, options = self._whole
        super().__init__(file, fontNumber=options.font_number, **_AS_STORED)
        _drop_shaping_tables(self)


class _LatinFirstSubsetter(subset.Subsetter):  # type: ignore[misc]
    """Cuts a font; takes the whole font only for glyphs that its Latin part lacks."""

    glyph_ids_requested: set[int]
    glyph_index_map: dict[int, int]

    def subset(self, font: _LatinFont) -> None:
        """Cut the font to the requested glyphs."""
        numbers = font.latin.numbers
        if not (self.unicodes_requested <= _LATIN and self.glyph_ids_requested <= numbers.keys()):
            font.read_whole()
            super().subset(font)
            return
        self.glyph_ids_requested = {numbers[n] for n in self.glyph_ids_requested}
        super().subset(font)
        if hasattr(self, "glyph_index_map"):  # by numbers in the whole font, as the caller knows them
            self.glyph_index_map = {
                whole: self.glyph_index_map[latin]
                for whole, latin in numbers.items()
                if latin in self.glyph_index_map
            }


@lru_cache(maxsize=16)
def _cut_latin_glyphs(file: str, font_number: int) -> _LatinGlyphs:
    """Cut the Latin glyphs from a font file; a font without any gives none."""
    options = subset.Options(glyph_names=True, recommended_glyphs=True, passthrough_tables=True)
    whole = TTFont(file, fontNumber=font_number, **_AS_STORED)
    _drop_shaping_tables(whole)
    before = {name: number for number, name in enumerate(whole.getGlyphOrder())}
    subsetter = _plain_subsetter(options)
    subsetter.populate(unicodes=_LATIN)
    subsetter.subset(whole)
    out = io.BytesIO()
    whole.save(out, reorderTables=False)
    return _LatinGlyphs(out.getvalue(), {before[name]: n for n, name in enumerate(whole.getGlyphOrder())})


_plain_subsetter = subset.Subsetter
"""The library's own subsetter, also while another stands in its place."""


def _drop_shaping_tables(font: TTFont) -> None:
    for table in _SHAPING_TABLES:
        if table in font:
            del font[table]
