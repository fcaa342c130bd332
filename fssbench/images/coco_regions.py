"""Regions of COCO JSON: polygons and run lengths, checked before they are drawn.

A coordinate reaches the C code of pycocotools only if it is a finite number near the image.  NaN and huge values make
that code crash or use all memory.  Run lengths are decoded here, because pycocotools does not check their sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fssbench.errors import DataError

TOLERANCE = 0.05
"""A coordinate may lie outside of the image by this part of the longer side.  COCO's own stay inside; those
further off belong to an image of another size."""
TOLERANCE_PIXELS = 5.0
"""Number of pixels by which a coordinate may always lie outside of the image."""
LONGEST_BOUNDARY = 2_000_000
"""Maximum number of pixels of one annotation's boundary.  pycocotools needs about 100 bytes for each."""


def has_region(segmentation: Any) -> bool:
    """Return whether a segmentation holds anything: `null`, `[]` and `[[]]` do not."""
    if isinstance(segmentation, list):
        return any(part != [] for part in segmentation)
    return segmentation is not None


def check_segmentation(segmentation: Any, height: int, width: int) -> None:
    """Check that a segmentation can be drawn into an image.

    Raises:
        ValueError: if it cannot, with the reason.
    """
    if isinstance(segmentation, dict):
        read_runs(segmentation, height, width)
    elif has_region(segmentation):
        read_polygons(segmentation, height, width)


def read_polygons(segmentation: Any, height: int, width: int) -> list[list[float]]:
    """Read polygons as lists x, y, x, y, ...; those without a number are left out.

    Raises:
        ValueError: if one is not a polygon, or lies outside of the image.
    """
    if not isinstance(segmentation, list):
        raise ValueError(f"segmentation is {segmentation!r:.40}, expected polygons or run lengths")
    polygons = [polygon for polygon in segmentation if polygon != []]
    margin = max(TOLERANCE_PIXELS, TOLERANCE * max(height, width))
    length = 0.0
    for polygon in polygons:
        if not isinstance(polygon, list):
            raise ValueError(f"polygon {polygon!r:.40} is not a list of numbers")
        if not set(map(type, polygon)) <= {int, float}:
            raise ValueError(f"polygon {polygon!r:.60} contains something that is not a number")
        if len(polygon) < 6 or len(polygon) % 2:
            box = ", which COCO's tools take for a box" if len(polygon) == 4 else ""
            raise ValueError(
                f"a polygon has {len(polygon)} numbers{box}; allowed are x, y pairs of 3 points or more"
            )
        try:
            points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
        except OverflowError:
            points = np.full((1, 2), np.inf)
        low, high = points.min(axis=0), points.max(axis=0)
        if not (
            np.isfinite(points).all() and low.min() >= -margin and (high - margin <= (width, height)).all()
        ):
            off = next(
                v for i, v in enumerate(polygon) if not -margin <= v <= (height if i % 2 else width) + margin
            )
            raise ValueError(
                f"coordinate {off!r:.30} is outside of the image of {width}x{height} pixels; allowed are finite "
                f"numbers within {margin:g} pixels of it"
            )
        closed = np.concatenate([points, points[:1]])
        length += float(np.abs(np.diff(closed, axis=0)).max(axis=1).sum())
    if length > LONGEST_BOUNDARY:
        raise ValueError(f"its boundary has {length:,.0f} pixels, allowed are {LONGEST_BOUNDARY:,}")
    return polygons


def read_runs(segmentation: dict[str, Any], height: int, width: int) -> NDArray[np.int64]:
    """Read run lengths, compressed or plain: zeros, ones, zeros, ..., column by column.

    Raises:
        ValueError: if they are malformed or do not fill the image.
    """
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, (list, tuple)) or list(size) != [height, width]:
        turned = " (height and width are swapped)" if size == [width, height] else ""
        raise ValueError(
            f"run lengths do not fill the image: their size is {size!r:.40}, expected [{height}, {width}]{turned}"
        )
    if isinstance(counts, (str, bytes)):
        counts = _decompress(counts.encode() if isinstance(counts, str) else counts)
    if not isinstance(counts, list) or not set(map(type, counts)) <= {int}:
        raise ValueError(f"run lengths {counts!r:.40} are not whole numbers")
    if any(count < 0 for count in counts) or sum(counts) != height * width:
        raise ValueError(
            f"run lengths do not fill {width}x{height} pixels: their sum is {sum(counts)}, "
            f"expected {height * width}" + (", and some are negative" if min(counts, default=0) < 0 else "")
        )
    return np.asarray(counts, dtype=np.int64)


def _decompress(text: bytes) -> list[int]:
    """Decode compressed run lengths: 5 bits per character, low bits first, from the third on as differences."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = character - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("compressed run lengths hold a character that they cannot have")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    if shift:
        raise ValueError("compressed run lengths end in the middle of a number")
    return counts


def decode_region(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    """Return the pixels (height, width) of a segmentation: polygons, or compressed or plain run lengths.

    Run lengths are read here; polygons need pycocotools.

    Raises:
        DataError: if pycocotools is needed and absent.
        ValueError: if run lengths do not fill the image, or a polygon is malformed or off the image.
    """
    if isinstance(segmentation, dict):
        runs = read_runs(segmentation, height, width)
        return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
    polygons = read_polygons(segmentation, height, width)
    try:
        from pycocotools import mask as tools
    except ImportError:
        raise DataError(
            'drawing COCO polygons needs pycocotools. Next: `pip install "fssbench[coco]"`'
        ) from None
    return np.asarray(tools.decode(tools.merge(tools.frPyObjects(polygons, height, width)))).astype(bool)
