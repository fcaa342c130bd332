"""The miniature of FSS-1000: twelve painted classes whose names are no class of the real data set."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from ..shared import paint, placing

_SIZE = 224
"""Width and height of the images, in pixels."""
NAMES = (
    "amber_lantern",
    "banded_snail",
    "checked_kettle",
    "dotted_mushroom",
    "eight_lobed_cushion",
    "finned_whistle",
    "green_spinner",
    "hooked_anchor",
    "ivory_button",
    "jagged_leaf",
    "knotted_buoy",
    "long_armed_star",
)


def write_classes(root: Path, seed: int) -> None:
    """Write class folders with 1..10.jpg and RGB masks 1..10.png, 224 pixels square, one object each."""
    for number, name in enumerate(NAMES):
        placing.make_folder(root / name)
        for index in range(1, 11):
            rng = paint.make_generator(seed, 3, number, index)
            scene = paint.paint_ground(rng, _SIZE, _SIZE)
            centre = (rng.uniform(0.38, 0.62) * _SIZE, rng.uniform(0.4, 0.65) * _SIZE)
            radius = rng.uniform(0.16, 0.33) * _SIZE
            where = paint.paint_figure(scene, paint.choose_look(3, number), centre, radius, rng)
            paint.finish_scene(scene).save(root / name / f"{index}.jpg", quality=88)
            Image.fromarray(where).convert("RGB").save(root / name / f"{index}.png")
