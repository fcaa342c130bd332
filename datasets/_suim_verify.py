"""What can be wrong with one SUIM image and its masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fssbench.api import Verification
from fssbench.listing import list_files

from . import _verify
from ._pairs import THRESHOLD
from ._pairs import decode as decode_file
from ._suim_scan import CODES, PARTS, RASTER, Source, decode

TOLERANCE = 32
"""A channel value within this of 0 or 255 is a colour code; any other is a soft one."""

PHOTO = 0.1
"""Share of soft pixels above which a file is no colour-coded mask at all."""


def look(report: Verification, source: Source) -> list[str]:
    """Check one image and its masks.

    Returns:
        Class folder names that a usable mask holds.
    """
    image = decode_file(report, source.item, "image")
    held: list[str] = []
    for name, path in [("", source.coded)] if source.coded else source.binary:
        mask = decode_file(report, path, "mask")
        if mask is None:
            continue
        fits = image is not None and _verify.sizes(report, image, mask, path)
        if name:
            # in this layout a mask without a pixel says that the class is not there
            empty = mask.mode in {"L", "1", "P", "RGB"} and not np.asarray(mask.convert("L")).any()
            present = [name] if not empty and _verify.binary(report, mask, path, THRESHOLD) else []
        elif mask.mode not in {"RGB", "RGBA", "P"}:
            _verify.error(
                report,
                path,
                f"mask has mode {mask.mode}; without colours its classes are lost",
                "use the RGB mask as published",
            )
            present = []
        else:
            present = _coded(report, np.asarray(mask.convert("RGB"), dtype=np.uint8), path)
        held += present if fits else []
    return held


def _coded(report: Verification, colours: NDArray[np.uint8], path: str) -> list[str]:
    """Classes of a colour-coded mask (H, W, 3); none where its colours are no codes."""
    between = ((colours > TOLERANCE) & (colours < 255 - TOLERANCE)).any(axis=2)
    count, share = int(between.sum()), float(between.mean())
    if share > PHOTO:
        _verify.error(
            report,
            path,
            f"{100 * share:.1f} % of the pixels have colours that are no class code",
            "this is no colour-coded mask; use the file as published",
        )
        return []
    if count:
        _verify.warning(
            report,
            path,
            f"{count:,} pixels have soft colours; the threshold {THRESHOLD} on each channel decides",
            "nothing to do where the file is as published; a resized or JPEG mask should be replaced",
        )
    present = set(np.unique(decode(colours)).tolist())
    return [name for name, code in CODES.items() if code in present]


def without_mask(root: Path, found: list[Source]) -> list[str]:
    """Images of all parts that no mask belongs to."""
    known = {source.item for source in found}
    items = [f"{part}images/{n}" for part in PARTS for n in list_files(root / part / "images", *RASTER)]
    return [item for item in items if item not in known]
