"""Procedural drawing for miniatures: smooth noise, blobs, and colours laid over regions.

Everything is vectorised and takes its randomness from a generator that the caller seeds.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.float32]
"""(H, W) of floats."""

Picture = NDArray[np.float32]
"""(H, W, 3) of floats, 0..255."""


def make_generator(name: str, seed: int) -> np.random.Generator:
    """Return a generator that depends on a name and the miniature's seed alone."""
    return np.random.Generator(np.random.PCG64([zlib.crc32(name.encode()), seed]))


def draw_noise(rng: np.random.Generator, height: int, width: int, cell: float) -> Plane:
    """Draw smooth noise (H, W) in -1..1 with bumps about `cell` pixels wide."""
    rows, columns = max(2, round(height / cell) + 1), max(2, round(width / cell) + 1)
    coarse = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def draw_grain(rng: np.random.Generator, height: int, width: int) -> Plane:
    """Draw independent noise (H, W), one value per pixel, -1..1."""
    return rng.random((height, width), dtype=np.float32) * 2 - 1


def make_grid(height: int, width: int) -> tuple[Plane, Plane]:
    """Return row and column of every pixel, (H, 1) and (1, W), for broadcasting."""
    return np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None, :]


def draw_blob(
    rng: np.random.Generator,
    height: int,
    width: int,
    centre: tuple[float, float],
    radii: tuple[float, float],
    ragged: float,
) -> Plane:
    """Draw the signed depth (H, W) of an irregular ellipse: positive inside, 0 on its edge, about 1 at its centre.

    Args:
        rng: source of the shape.
        height: of the plane.
        width: of the plane.
        centre: row, column.
        radii: vertical and horizontal.
        ragged: how far the edge leaves the ellipse, as a share of the radius.
    """
    y, x = make_grid(height, width)
    dy, dx = (y - centre[0]) / radii[0], (x - centre[1]) / radii[1]
    angle = np.arctan2(dy, dx)
    edge = np.ones_like(angle)
    for order in range(2, 7):
        edge = edge + ragged / order * rng.uniform(-1, 1) * np.sin(order * angle + rng.uniform(0, 6.28))
    return np.asarray(edge - np.hypot(dy, dx), dtype=np.float32)


def tint_plane(colour: tuple[float, float, float], shade: Plane) -> Picture:
    """Return a colour under a brightness plane (H, W), where 1 gives the colour itself."""
    return np.asarray(np.asarray(colour, dtype=np.float32) * shade[..., None], dtype=np.float32)


def paint_region(picture: Picture, region: NDArray[np.bool_], paint: Picture) -> None:
    """Copy the paint into the picture within a region, in place."""
    picture[region] = paint[region]


def to_image(picture: NDArray[np.float32]) -> Image.Image:
    """Round and clip to an 8-bit image, grey for (H, W), RGB for (H, W, 3)."""
    return Image.fromarray(np.clip(np.rint(picture), 0, 255).astype(np.uint8))
