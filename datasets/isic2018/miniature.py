"""Skin lesions for the miniature: skin with hairs, and a pigmented patch of one of three looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..shared.texture import Picture, draw_blob, draw_grain, draw_noise, make_generator, make_grid, to_image

EACH = 8
"""Images of each look."""

LOOKS = (
    ("nevus", 0.12, (112, 70, 48), 0.06),
    ("melanoma", 0.45, (62, 40, 40), 0.30),
    ("seborrheic_keratosis", 0.22, (138, 98, 62), 0.16),
)
"""Disease, raggedness of the edge, colour, and variation of the colour; raggedness and variation from 0 to 1."""


def draw_files(folder: Path, seed: int) -> None:
    """Write the flat download with its class table."""
    images = folder / "ISIC2018_Task1-2_Training_Input"
    masks = folder / "ISIC2018_Task1_Training_GroundTruth"
    images.mkdir()
    masks.mkdir()
    rows = ["image_id,class"]
    for number in range(EACH * len(LOOKS)):
        look = LOOKS[number % len(LOOKS)]
        rng = make_generator(f"isic/{number}", seed)
        width = int(rng.choice([224, 240, 256]))
        picture, lesion = _draw_lesion(rng, width * 3 // 4, width, look)
        name = f"ISIC_{number * 13 + 7:07d}"
        _with_hairs(rng, to_image(picture)).save(images / f"{name}.jpg", quality=92)
        Image.fromarray((lesion * 255).astype(np.uint8)).save(masks / f"{name}_segmentation.png")
        rows.append(f"{name},{look[0]}")
    (folder / "class_id.csv").write_text("\n".join(rows) + "\n", encoding="utf-8", newline="\n")


def _draw_lesion(
    rng: np.random.Generator, height: int, width: int, look: tuple[str, float, tuple[int, int, int], float]
) -> tuple[Picture, NDArray[np.bool_]]:
    """Draw a picture (H, W, 3) and its lesion (H, W)."""
    _, ragged, colour, uneven = look
    y, x = make_grid(height, width)
    light = 1 + 0.05 * draw_noise(rng, height, width, 80) + 0.02 * draw_grain(rng, height, width)
    vignette = np.hypot((y / height - 0.5), (x / width - 0.5)) ** 2
    tone = np.array([224, 176, 150], dtype=np.float32) * rng.uniform(0.85, 1.05) + rng.uniform(-8, 8, 3)
    skin = tone * (light - 0.5 * vignette)[..., None]
    size = rng.uniform(0.16, 0.36)
    centre = (height * rng.uniform(0.4, 0.6), width * rng.uniform(0.4, 0.6))
    radii = (height * size * rng.uniform(0.9, 1.3), width * size * rng.uniform(0.8, 1.1))
    depth = draw_blob(rng, height, width, centre, radii, ragged) + 0.05 * draw_noise(rng, height, width, 12)
    patch = 1 + uneven * draw_noise(rng, height, width, 16) + 0.06 * draw_noise(rng, height, width, 4)
    pigment = np.asarray(colour, dtype=np.float32) * rng.uniform(0.85, 1.2) * patch[..., None]
    # the pigment fades in over the edge, as it does on skin
    share = np.clip(0.5 + depth * rng.uniform(4, 9), 0, 1)[..., None]
    picture = skin * (1 - share) + pigment * share
    return picture.astype(np.float32), depth > 0


def _with_hairs(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Draw up to eight curved hairs onto a picture, and return it."""
    pen = ImageDraw.Draw(image)
    width, height = image.size
    for _ in range(int(rng.integers(0, 9))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        angle, bend = rng.uniform(0, 6.28), rng.uniform(-0.03, 0.03)
        points = []
        for step in range(30):
            points.append((x, y))
            x += 5 * np.cos(angle + bend * step)
            y += 5 * np.sin(angle + bend * step)
        pen.line(points, fill=(58, 42, 36), width=1)
    return image
