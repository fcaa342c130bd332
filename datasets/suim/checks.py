"""What can be wrong with one SUIM image and its masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from fssbench.api import Verification, judge_binary, judge_coded, list_files

from ..shared import checks
from .scan import CODES, MAY_BE, PARTS, RASTER, Source


def check_source(report: Verification, source: Source, resizes_mask: Callable[[], bool]) -> list[str]:
    """Check one image and its masks.

    Args:
        report: what is filled in.
        source: the image.
        resizes_mask: whether the release has its masks in another size.

    Returns:
        Class folder names that a usable mask holds.
    """
    image = checks.decode_file(report, source.item, "image")
    classes: list[str] = []
    for name, path in [("", source.coded)] if source.coded else source.binary:
        mask = checks.decode_file(report, path, "mask")
        if mask is None:
            continue
        fits = image is not None and checks.check_sizes(report, image, mask, path, as_released=resizes_mask)
        present = (
            _check_class_mask(report, mask, path, name) if name else _check_coded_mask(report, mask, path)
        )
        classes += present if fits else []
    return classes


def _check_class_mask(report: Verification, mask: Image.Image, path: str, name: str) -> list[str]:
    """Return the class of a binary mask; none if it is refused, or if it is empty and the class is absent."""
    judged = judge_binary(mask, expected=MAY_BE)
    usable = checks.add_judgements(report, path, judged.judgements)
    return [name] if usable and judged.values is not None and judged.values.any() else []


def _check_coded_mask(report: Verification, mask: Image.Image, path: str) -> list[str]:
    """Return the classes of a colour-coded mask; none if its colours are no codes."""
    judged = judge_coded(mask)
    if not checks.add_judgements(report, path, judged.judgements) or judged.values is None:
        return []
    present = set(np.unique(judged.values).tolist())
    return [name for name, code in CODES.items() if code in present]


def find_images_without_mask(root: Path, sources: list[Source]) -> list[str]:
    """Return the images of all parts without a mask."""
    known = {source.item for source in sources}
    items = [f"{part}images/{n}" for part in PARTS for n in list_files(root / part / "images", *RASTER)]
    return [item for item in items if item not in known]
