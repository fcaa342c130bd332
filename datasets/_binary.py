"""Foreground masks stored as grey images, and the files of a folder by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fssbench.errors import DataError
from fssbench.imaging import open_image

THRESHOLD = 128
"""Grey value from which a pixel is foreground, in all reference loaders of these data sets."""


def read_grey(path: Path) -> NDArray[np.uint8]:
    """A mask file as stored grey values (H, W), 0..255; soft edges are kept.

    Raises:
        DataError: where the file is missing, damaged, or of a mode that has no 8-bit grey values.
    """
    image = open_image(path)
    if image.mode not in {"1", "L", "P", "RGB", "RGBA", "LA"}:
        raise DataError(
            f"{path} has mode {image.mode}; a foreground mask must be an 8-bit grey image (0 and 255)"
        )
    if image.mode in {"P", "RGBA", "LA"}:
        image = image.convert("RGB")
    return np.asarray(image.convert("L"), dtype=np.uint8)


def files(folder: Path, *suffixes: str) -> list[Path]:
    """Files directly in a folder whose name ends in one of the suffixes, sorted by name; [] if none.

    Dot files (such as the `._x.jpg` copies that some archivers leave) are no data and are left out.
    """
    if not folder.is_dir():
        return []
    found = (p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
    return sorted(found, key=lambda p: p.name)
