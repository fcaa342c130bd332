"""Draws masks as transparent pictures with few colours, and supports as photographs with a tinted object.

The colours are those of Okabe and Ito.  Each has its own pattern, so that an error map can be read without colour.
"""

from __future__ import annotations

import base64
import io
import struct
import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.api import Pictures

IGNORE = 255
OUTSIDE, RIGHT, FALSE, MISSED, VOID = range(5)
"""Kinds of pixels: background, found foreground, false foreground, missed foreground, not counted."""
MEANINGS = {
    RIGHT: "correct foreground",
    FALSE: "false foreground",
    MISSED: "missed foreground",
    VOID: "not counted",
}
_TINT = (230, 159, 0)
_COLOURS = {
    OUTSIDE: (255, 255, 255, 120),
    RIGHT: (0, 114, 178, 190),
    FALSE: (213, 94, 0, 220),
    MISSED: (240, 228, 66, 230),
    VOID: (128, 128, 128, 220),
}
_STROKE = {FALSE: (90, 30, 0, 255), MISSED: (110, 80, 0, 255)}
_WASH = (*_TINT, 150)
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE = 3
"""Kind of a PNG whose pixels are numbers of colours."""


def classify_pixels(pictures: Pictures) -> NDArray[np.uint8]:
    """Return the kind of each pixel (h, w), from the stored masks alone."""
    truth, predicted = pictures.truth == 1, pictures.prediction
    kinds = np.full(truth.shape, OUTSIDE, np.uint8)
    kinds[truth & predicted] = RIGHT
    kinds[~truth & predicted] = FALSE
    kinds[truth & ~predicted] = MISSED
    kinds[pictures.truth == IGNORE] = VOID
    return kinds


def draw_error_map(kinds: NDArray[np.uint8]) -> str:
    """Return an error map as the address of a transparent PNG: false pixels hatched, missed pixels dotted."""
    colours = kinds.copy()
    strokes: dict[int, tuple[int, ...]] = {}
    for kind, lines in zip((FALSE, MISSED), _draw_patterns(*kinds.shape), strict=True):
        strokes[len(_COLOURS) + len(strokes)] = _STROKE[kind]
        colours[(kinds == kind) & lines] = max(strokes)
    return _encode_png(colours, {**_COLOURS, **strokes})


@lru_cache(maxsize=8)
def _draw_patterns(height: int, width: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Draw the hatching of false pixels and the dots of missed ones; the pictures of a report have few sizes."""
    y, x = np.indices((height, width))
    return (x + y) % 6 < 2, (x % 5 < 2) & (y % 5 < 2)


def draw_mask(foreground: NDArray[np.bool_], ignored: NDArray[np.bool_] | None = None) -> str:
    """Return a mask as the address of a transparent PNG.

    The foreground is tinted and outlined.  Ignored pixels are grey.
    """
    colours = np.where(foreground, 1, 0).astype(np.uint8)
    padded = np.pad(foreground, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    colours[foreground & ~inner] = 3
    if ignored is not None:
        colours[ignored] = 2
    return _encode_png(colours, {0: _COLOURS[OUTSIDE], 1: _WASH, 2: _COLOURS[VOID], 3: _STROKE[FALSE]})


def draw_swatch(kind: int) -> str:
    """Return a sample of one colour of the error map with its pattern."""
    return draw_error_map(np.full((12, 22), kind, np.uint8))


def draw_photo(image: Image.Image, foreground: NDArray[np.bool_] | None = None) -> str:
    """Return a photograph as the address of a JPEG.

    With `foreground` (h, w) the object is tinted, and the rest is paler.
    """
    if foreground is not None:
        pixels = np.asarray(image, np.float32)
        wash = np.where(foreground[..., None], _TINT, (255, 255, 255))
        share = np.where(foreground[..., None], 0.55, 0.3)
        image = Image.fromarray((pixels * (1 - share) + wash * share).astype(np.uint8))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _encode_png(values: NDArray[np.uint8], colours: dict[int, tuple[int, ...]]) -> str:
    """Return a picture of at most 16 colours as the address of a PNG.

    It is put together here because a page has thousands of them, and Pillow takes several times as long.

    Args:
        values: (h, w) number of the colour of each pixel.
        colours: red, green, blue and opacity of each number, from 0 on.
    """
    height, width = values.shape
    rows = np.zeros((height, 1 + (width + 1) // 2), np.uint8)  # each row begins with 0: it is not filtered
    rows[:, 1:] = values[:, ::2] << 4
    rows[:, 1 : 1 + width // 2] |= values[:, 1::2]
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 4, _PALETTE, 0, 0, 0)),
        (b"PLTE", bytes(part for n in range(len(colours)) for part in colours[n][:3])),
        (b"tRNS", bytes(colours[n][3] for n in range(len(colours)))),
        (b"IDAT", zlib.compress(rows.tobytes())),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
    return f"data:image/png;base64,{base64.b64encode(b''.join((_SIGNATURE, *chunks))).decode()}"
