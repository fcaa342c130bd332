"""Images with foreground masks stored as grey files: reading them, and checking a pair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.api import DataError, Verification
from fssbench.imaging import open_image
from fssbench.listing import find_file

from . import _verify

THRESHOLD = 128
"""Grey value from which a pixel is foreground, in all reference loaders of these data sets."""


_TAIL = 1024
"""Last bytes of a PNG in which its end mark is looked for; some programs append to it."""


def read_grey(path: Path) -> NDArray[np.uint8]:
    """A mask file as stored grey values (H, W), 0..255; soft edges are kept.

    Raises:
        DataError: where the file is missing, damaged, or of a mode that has no 8-bit grey values.
    """
    image = open_image(path)
    if image.mode not in {"1", "L", "P", "RGB", "RGBA", "LA"}:
        raise DataError(
            f"{path} has mode {image.mode}; a foreground mask must be an 8-bit grey image (0 and 255). "
            "Next: `fssbench data verify`"
        )
    if image.mode in {"P", "RGBA", "LA"}:
        image = image.convert("RGB")
    return np.asarray(image.convert("L"), dtype=np.uint8)


def decode(report: Verification, path: str, kind: Literal["image", "mask"]) -> Image.Image | None:
    """Decode a file completely, down to a PNG's end mark; None, with a finding, where that fails.

    Pillow reads a PNG that lost its last bytes without a word where no pixel is missing.
    """
    image = _verify.decode(report, path, kind)
    if image is None or image.format != "PNG":
        return image
    with find_file(report.root / path).open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - _TAIL))
        if b"IEND" in file.read():
            return image
    _verify.error(
        report, path, f"{kind} truncated: the PNG has no end mark", "get the file from its owner again"
    )
    return None


def check(report: Verification, image_path: str, mask_path: str) -> bool:
    """Look at one image and its foreground mask; findings go into the report.

    Returns:
        Whether the pair can serve in an episode.
    """
    image = decode(report, image_path, "image")
    mask = decode(report, mask_path, "mask")
    held = mask is not None and _verify.binary(report, mask, mask_path, THRESHOLD)
    fits = image is not None and mask is not None and _verify.sizes(report, image, mask, mask_path)
    return held and fits


def several(report: Verification, folder: str, names: Sequence[str], problem: str, remedy: str) -> None:
    """Warn once of something that many files of a folder share, naming the first three."""
    if names:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        _verify.warning(report, folder, f"{len(names):,} files: {problem} ({shown})", remedy)


def sample(report: Verification, folder: str, count: int, published: int, what: str) -> None:
    """Warn where fewer are there than were published: what is measured is then a sample."""
    if count < published:
        _verify.warning(
            report,
            folder,
            f"{count:,} of {published:,} published {what} are there: a sample",
            "numbers measured on it are marked as a sample; get the full data set for benchmark numbers",
        )
