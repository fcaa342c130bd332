"""Aerial tiles for the miniature: irregular parcels of the six land covers, with the colour-coded masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..shared.texture import (
    Picture,
    draw_grain,
    draw_noise,
    make_generator,
    make_grid,
    paint_region,
    tint_plane,
    to_image,
)
from .patches import CLASSES, COLOURS

SIDE = 1224
"""Half the published side: patches of 204."""

TILES = 3
PARCELS = 36
"""Parcels a tile; some lie under cloud, which is labelled unknown."""


def draw_files(folder: Path, seed: int) -> None:
    """Write `<tile>_sat.jpg` and `<tile>_mask.png` as the land-cover download has them."""
    for tile in range(TILES):
        rng = make_generator(f"deepglobe/{tile}", seed)
        parcel = _draw_parcels(rng)
        # every class equally often, the last parcel under cloud
        cover = np.append(rng.permutation(np.arange(PARCELS - 1) % len(CLASSES)), len(CLASSES))
        label = cover[parcel]
        picture = np.empty((SIDE, SIDE, 3), dtype=np.float32)
        for value, paint in enumerate(_make_paints(rng, parcel)):
            paint_region(picture, label == value, paint)
        picture *= 1 + 0.06 * draw_noise(rng, SIDE, SIDE, 500)[..., None]
        codes = np.array([*COLOURS, 0], dtype=np.uint8)[label]
        colours = np.stack([(codes >> bit & 1) * np.uint8(255) for bit in (2, 1, 0)], axis=-1)
        number = 100000 + 1000 * tile + int(rng.integers(1000))
        to_image(picture).save(folder / f"{number}_sat.jpg", quality=88)
        Image.fromarray(colours).save(folder / f"{number}_mask.png", compress_level=1)


def _draw_parcels(rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the index (SIDE, SIDE) of the nearest parcel centre, with wavy borders."""
    half = SIDE // 2
    y, x = make_grid(half, half)
    y = y + 22 * draw_noise(rng, half, half, 60)
    x = x + 22 * draw_noise(rng, half, half, 60)
    centres = rng.uniform(0, half, (PARCELS, 2)).astype(np.float32)
    nearest = np.zeros((half, half), dtype=np.int64)
    least = np.full((half, half), np.inf, dtype=np.float32)
    for index, (row, column) in enumerate(centres):
        far = (y - row) ** 2 + (x - column) ** 2
        closer = far < least
        nearest[closer], least[closer] = index, far[closer]
    return nearest.repeat(2, axis=0).repeat(2, axis=1)


def _make_paints(rng: np.random.Generator, parcel: NDArray[np.int64]) -> list[Picture]:
    """Return one picture per class, in class order, and one of clouds."""
    y, x = make_grid(SIDE, SIDE)
    fine, rough = draw_grain(rng, SIDE, SIDE), draw_noise(rng, SIDE, SIDE, 9)
    wide = draw_noise(rng, SIDE, SIDE, 90)
    # fields: rows run another way and ripen differently in every parcel
    turn = rng.uniform(0, np.pi, PARCELS).astype(np.float32)[parcel]
    ripe = rng.uniform(0.75, 1.15, PARCELS).astype(np.float32)[parcel]
    rows = np.sin((y * np.cos(turn) + x * np.sin(turn)) * 0.55)
    fields = tint_plane((142, 150, 84), ripe + 0.10 * rows + 0.03 * fine)
    # blocks of roofs between streets
    block = rng.uniform(0.55, 1.35, (SIDE // 14 + 1, SIDE // 14 + 1)).astype(np.float32)
    roofs = block[(y // 14).astype(np.int64), (x // 14).astype(np.int64)]
    street = (y % 42 < 5) | (x % 56 < 5)
    town = tint_plane((168, 160, 156), np.where(street, 0.5, roofs) + 0.05 * fine)
    return [
        fields,
        town,
        tint_plane((150, 132, 96), 0.95 + 0.14 * wide + 0.10 * (rough > 0.45) + 0.05 * fine),
        tint_plane((44, 78, 42), 0.95 + 0.45 * rough + 0.15 * fine),
        tint_plane((34, 62, 86), 1 + 0.10 * wide + 0.03 * fine),
        tint_plane((206, 190, 166), 0.98 + 0.14 * np.sin(y * 0.05 + 5 * wide) + 0.04 * fine),
        tint_plane((238, 240, 244), 0.97 + 0.06 * wide),
    ]
