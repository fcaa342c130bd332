"""The miniature of PASCAL VOC, painted as the devkit is published.

Its image names (`mini_...`) never coincide with real ones, so that no reference list can name a painted image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..shared import paint, palette, placing

_SIZES = ((264, 200), (200, 264), (280, 210), (236, 236))
"""Width and height of the images, in pixels."""


def write_devkit(root: Path, seed: int, classes: int, counts: dict[str, int]) -> None:
    """Write a VOC devkit: JPEGImages, SegmentationClass with 255 borders, ImageSets/Segmentation.

    Args:
        root: the folder that becomes `VOC2012`.
        seed: of the miniature.
        classes: number of classes, labels 1..classes.
        counts: images by list name ("train", "val"); three classes an image, in turn.
    """
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        placing.make_folder(root / part)
    number = 0
    for split, count in counts.items():
        names = []
        for index in range(count):
            name = f"mini_{number:06d}"
            shown = [(3 * index + k) % classes for k in range(3)]
            scene, label = _paint_scene(paint.make_generator(seed, 1, number), shown)
            paint.finish_scene(scene).save(root / "JPEGImages" / f"{name}.jpg", quality=88)
            palette.save_labels(label, root / "SegmentationClass" / f"{name}.png")
            names.append(name)
            number += 1
        (root / "ImageSets/Segmentation" / f"{split}.txt").write_text(
            "".join(f"{n}\n" for n in names), encoding="utf-8", newline="\n"
        )


def _paint_scene(rng: np.random.Generator, shown: list[int]) -> tuple[paint.Floats, NDArray[np.uint8]]:
    width, height = _SIZES[int(rng.integers(len(_SIZES)))]
    scene = paint.paint_ground(rng, height, width)
    label = np.zeros((height, width), dtype=np.uint8)
    order = rng.permutation(shown)
    wide = width >= height
    for slot, class_id in enumerate(order):
        along = (slot + 0.5 + rng.uniform(-0.08, 0.08)) / 3
        across = rng.uniform(0.38, 0.7)
        centre = (along * width, across * height) if wide else (across * width, along * height)
        radius = rng.uniform(0.13, 0.19) * max(width, height)
        where = paint.paint_figure(scene, paint.choose_look(1, int(class_id)), centre, radius, rng)
        label[where] = class_id + 1
        label[_find_outline(where)] = 255  # VOC's annotators left a border undecided
    return scene, label


def _find_outline(where: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels on both sides of a region's edge."""
    edge = np.zeros_like(where)
    across, down = where[:, 1:] != where[:, :-1], where[1:] != where[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge
