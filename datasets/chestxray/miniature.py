"""Radiographs for the miniature: two dark lung fields under ribs, beside spine and heart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..shared.texture import Plane, draw_blob, draw_grain, draw_noise, make_generator, make_grid, to_image

SHENZHEN = 24
MONTGOMERY = 6
SIDE = 224


def draw_files(folder: Path, seed: int) -> None:
    """Write CXR_png/ and masks/ with the published names."""
    (folder / "CXR_png").mkdir()
    (folder / "masks").mkdir()
    for number in range(SHENZHEN + MONTGOMERY):
        rng = make_generator(f"chest/{number}", seed)
        picture, lungs = _draw_chest(rng)
        sick = number % 2
        name = f"CHNCXR_{number + 1:04d}_{sick}" if number < SHENZHEN else f"MCUCXR_{number + 1:04d}_{sick}"
        mask = f"{name}_mask.png" if number < SHENZHEN else f"{name}.png"
        to_image(picture).save(folder / "CXR_png" / f"{name}.png")
        Image.fromarray((lungs * 255).astype(np.uint8)).save(folder / "masks" / mask)


def _draw_chest(rng: np.random.Generator) -> tuple[Plane, NDArray[np.bool_]]:
    """Draw a radiograph (H, W) and its lung fields (H, W)."""
    y, x = make_grid(SIDE, SIDE)
    middle = SIDE * rng.uniform(0.47, 0.53)
    top, low = SIDE * rng.uniform(0.14, 0.2), SIDE * rng.uniform(0.72, 0.84)
    height, centre = (low - top) / 2, (low + top) / 2
    fields = []
    for side in (-1, 1):
        at = (centre + rng.uniform(-5, 5), middle + side * SIDE * rng.uniform(0.2, 0.23))
        radii = (height, SIDE * rng.uniform(0.13, 0.17))
        field = draw_blob(rng, SIDE, SIDE, at, radii, 0.18)
        # narrow at the top, wide above the diaphragm
        field = field - 0.35 * np.clip((centre - y) / height, -0.4, 1) * np.abs(x - at[1]) / radii[1]
        fields.append(field)
    heart_at = (low - height * 0.35, middle + SIDE * rng.uniform(0.05, 0.09))
    heart = draw_blob(rng, SIDE, SIDE, heart_at, (height * 0.5, SIDE * rng.uniform(0.11, 0.15)), 0.1)
    lungs = (np.maximum(*fields) > 0) & (heart <= 0)
    body = np.clip(1.6 - (np.abs(x - middle) / (SIDE * 0.47)) ** 6 - 0.25 * (y < SIDE * 0.1), 0, 1)
    picture = 150 * body + 14 * draw_noise(rng, SIDE, SIDE, 70)
    picture = picture + 45 * np.exp(-(((x - middle) / (SIDE * 0.05)) ** 2))
    air = np.clip(6 * np.maximum(*fields), 0, 1) * np.clip(1 - 6 * heart, 0, 1)
    picture = picture - rng.uniform(65, 95) * air
    ribs = np.sin((y + 0.0045 * (x - middle) ** 2) * (2 * np.pi / rng.uniform(17, 21)) + rng.uniform(0, 6))
    picture = picture + 13 * np.clip(ribs, 0, 1) * body
    picture = picture + 9 * draw_noise(rng, SIDE, SIDE, 6) * air + 4 * draw_grain(rng, SIDE, SIDE)
    return np.asarray(picture, dtype=np.float32), lungs
