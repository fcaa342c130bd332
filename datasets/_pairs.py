"""Images with foreground masks stored as grey files: reading them, and checking a pair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.api import DataError, Dataset, Verification
from fssbench.imaging import open_image
from fssbench.listing import find_file
from fssbench.populations import size_marks

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


def sample(report: Verification, folder: str, dataset: Dataset, what: str, split: str = "test") -> None:
    """Warn where the set is not of the published size, by the rule that marks a run.

    Args:
        report: what is filled in.
        folder: where the warning points.
        dataset: what is looked at; its pool has the published size.
        what: what an entry is called, such as `patches`.
        split: the split whose size is published.
    """
    try:
        pool = dataset.pool(split)
    except DataError:
        return  # nothing can be drawn from it, which other findings say
    for mark in size_marks(pool):
        expected = pool.population
        assert expected is not None
        count, published = len(pool.entries), expected.entries
        if published is None:
            count, published, what = len({e.item for e in pool.entries}), expected.images, "images"
        assert published is not None
        if count < published:
            problem = f"{count:,} of {published:,} published {what} are there: a sample"
            remedy = (
                "numbers measured on it are marked as a sample; get the full data set for benchmark numbers"
            )
        else:
            problem = mark
            remedy = "no published episode can be drawn from it, so runs are marked; keep the published files alone"
        _verify.warning(report, folder, problem, remedy)
