"""The colours PASCAL VOC gives its label numbers."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@cache
def voc_colours() -> NDArray[np.uint8]:
    """Return the colours (256, 3) by label: label bits 0, 1, 2 go to red, green, blue, highest bit first, and so on."""
    labels = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            if 3 * (7 - bit) + channel < 8:
                colours[:, channel] |= (((labels >> (3 * (7 - bit) + channel)) & 1) << bit).astype(np.uint8)
    colours.setflags(write=False)
    return colours


def save_labels(label: NDArray[np.uint8], path: Path) -> None:
    """Write a label map (H, W) as an 8-bit palette PNG into a folder that is still staged."""
    image = Image.fromarray(np.ascontiguousarray(label))
    image.putpalette(voc_colours().tobytes())
    image.save(path, format="PNG", optimize=False)
