"""Things that a page of the documentation says its reader has: stored runs, photographs with a labelled one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from drawn_data import draw_pair, save_label
from PIL import Image
from run_folders import make_plan, write_run


def give_runs(folder: Path) -> None:
    """Write runs of three methods, with invented counts of enough queries for a verdict."""
    for method in ("pmnet", "hsnet", "panet"):
        write_run(folder / "runs", make_plan("pascal-to-chestxray", 0, 1, 96), method)


def give_photos(folder: Path) -> None:
    """Draw photographs in `photos/`, and labelled examples beside that folder."""
    for number, names in enumerate(("example.jpg mask.png", "a.jpg a.png", "b.jpg b.png")):
        for name, pixels in zip(names.split(), draw_pair(number), strict=True):
            Image.fromarray(pixels).save(folder / name)
    save_label(np.where(draw_pair(1)[1] > 0, 15, 0).astype(np.uint8), folder / "index.png")
    (folder / "photos").mkdir()
    for number in (5, 6):
        Image.fromarray(draw_pair(number)[0]).save(folder / f"photos/{number}.jpg")


def give_images_and_masks(folder: Path) -> None:
    """Draw `DIR`, a folder of images with masks of the same names."""
    for name in ("images", "masks"):
        (folder / "DIR" / name).mkdir(parents=True)
    for number in range(6):
        image, mask = draw_pair(number)
        Image.fromarray(image).save(folder / f"DIR/images/{number}.jpg")
        Image.fromarray(mask).save(folder / f"DIR/masks/{number}.png")


THINGS: dict[str, Callable[[Path], None]] = {
    "runs": give_runs,
    "photos": give_photos,
    "images-and-masks": give_images_and_masks,
}
