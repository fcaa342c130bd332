"""Encodes masks, and draws them on their images for people to look at."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

OVERLAY_SIDE = 1600
"""Longest side of an overlay, pixels."""
THUMBNAIL_SIDE = 320
"""Longest side of a picture on the contact sheet, pixels."""
_TINT = np.array((230, 30, 160), dtype=np.float32)
"""Magenta, which skin, sea, land and radiographs lack; the outline shows the object without colour too."""
_STRENGTH = 0.35
"""Share of the tint inside the object."""
_VISIBLE = 64
"""Grey value from which a pixel of the reduced mask is drawn: a quarter of it is object."""
_LINE = 400
"""Each outline is a four-hundredth of the longer side wide, or two pixels."""


def encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """Encode a mask (H, W) as PNG of 8-bit grey: 0 background, 255 object."""
    return _encode(Image.fromarray(mask.astype(np.uint8) * np.uint8(255)), "PNG")


def encode_jpeg(image: Image.Image) -> bytes:
    """Encode an RGB picture as JPEG."""
    return _encode(image, "JPEG", quality=85)


def _encode(image: Image.Image, kind: str, **options: int) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def draw_overlay(image: Image.Image, mask: NDArray[np.bool_], longest: int) -> Image.Image:
    """Draw the object of an image: tinted, with a dark and a light outline.

    Args:
        image: RGB.
        mask: (H, W), the size of the image.
        longest: longest side of the result; a smaller image keeps its size.
    """
    scale = min(1.0, longest / max(image.size))
    size = max(1, round(scale * image.width)), max(1, round(scale * image.height))
    small = image if size == image.size else image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    grey = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    inside = np.asarray(grey.resize(size, Image.Resampling.BOX)) >= _VISIBLE
    pixels = np.array(small, dtype=np.uint8)
    pixels[inside] = ((1 - _STRENGTH) * pixels[inside] + _STRENGTH * _TINT).astype(np.uint8)
    width = max(2, round(max(size) / _LINE))
    outside = _grow(inside, width) & ~inside
    edge = inside & _grow(~inside, width)
    pixels[edge], pixels[outside] = (255, 255, 255), (0, 0, 0)
    return Image.fromarray(pixels)


def _grow(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Extend a mask by some pixels in four directions, one after another."""
    for _ in range(width):
        grown = mask.copy()
        grown[1:] |= mask[:-1]
        grown[:-1] |= mask[1:]
        grown[:, 1:] |= mask[:, :-1]
        grown[:, :-1] |= mask[:, 1:]
        mask = grown
    return mask
