"""Miniatures of the natural-image data sets, painted in their raw published layouts.

Names never coincide with real ones (`mini_...`, image numbers from 900,000,000), so that a
reference list can never pick a painted image.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..coco import rasterise
from . import paint, palette, placing

_VOC_SIZES = ((264, 200), (200, 264), (280, 210), (236, 236))
_COCO_SIZE = (272, 204)
_FSS_SIZE = 224
FSS_NAMES = (
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


def voc_devkit(root: Path, seed: int, classes: int, counts: dict[str, int]) -> None:
    """Write a VOC devkit: JPEGImages, SegmentationClass with 255 borders, ImageSets/Segmentation.

    Args:
        root: the folder that becomes `VOC2012`.
        seed: of the miniature.
        classes: number of classes, labels 1..classes.
        counts: images by list name ("train", "val"); three classes an image, in turn.
    """
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        placing.folder(root / part)
    number = 0
    for split, count in counts.items():
        names = []
        for index in range(count):
            name = f"mini_{number:06d}"
            chosen = [(3 * index + k) % classes for k in range(3)]
            scene, label = _voc_scene(paint.generator(seed, 1, number), chosen)
            paint.finish(scene).save(root / "JPEGImages" / f"{name}.jpg", quality=88)
            palette.save(label, root / "SegmentationClass" / f"{name}.png")
            names.append(name)
            number += 1
        (root / "ImageSets/Segmentation" / f"{split}.txt").write_text(
            "".join(f"{n}\n" for n in names), encoding="utf-8", newline="\n"
        )


def _voc_scene(rng: np.random.Generator, chosen: list[int]) -> tuple[paint.Floats, NDArray[np.uint8]]:
    width, height = _VOC_SIZES[int(rng.integers(len(_VOC_SIZES)))]
    scene = paint.ground(rng, height, width)
    label = np.zeros((height, width), dtype=np.uint8)
    order = rng.permutation(chosen)
    wide = width >= height
    for slot, class_id in enumerate(order):
        along = (slot + 0.5 + rng.uniform(-0.08, 0.08)) / 3
        across = rng.uniform(0.38, 0.7)
        centre = (along * width, across * height) if wide else (across * width, along * height)
        radius = rng.uniform(0.13, 0.19) * max(width, height)
        where = paint.figure(scene, paint.look(1, int(class_id)), centre, radius, rng)
        label[where] = class_id + 1
        label[_outline(where)] = 255  # VOC's annotators left a border undecided
    return scene, label


def _outline(where: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels on both sides of a region's edge."""
    edge = np.zeros_like(where)
    across, down = where[:, 1:] != where[:, :-1], where[1:] != where[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge


def coco_release(root: Path, seed: int, classes: Sequence[str], counts: dict[str, int]) -> None:
    """Write a COCO release: `train2017/`, `val2017/` and `annotations/instances_*.json`.

    Regions are stored as plain run lengths, so that `prepare` reads them with and without
    pycocotools and gives the same masks.  Category ids have gaps, as in the real release.

    Args:
        root: the folder that becomes `COCO2017`.
        seed: of the miniature.
        classes: the 80 names.
        counts: images by part ("train2017", "val2017"); six classes an image, in turn.
    """
    placing.folder(root / "annotations")
    ids = [n + 1 + n // 9 for n in range(len(classes))]
    tables = [{"id": i, "name": n, "supercategory": "mini"} for i, n in zip(ids, classes, strict=True)]
    number = 900_000_000
    for part, count in counts.items():
        placing.folder(root / part)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(count):
            number += 1
            chosen = [(6 * index + k) % len(classes) for k in range(6)]
            scene, owner = _coco_scene(paint.generator(seed, 2, number), chosen)
            name = f"{number:012d}.jpg"
            paint.finish(scene).save(root / part / name, quality=86)
            height, width = owner.shape
            images.append({"id": number, "file_name": name, "height": height, "width": width, "license": 0})
            for slot, class_id in enumerate(chosen):
                where = owner == slot + 1
                annotations.append(
                    {
                        "id": number * 10 + slot,
                        "image_id": number,
                        "category_id": ids[class_id],
                        "iscrowd": int(index % 12 == 0 and slot == 0),
                        "area": int(where.sum()),
                        "segmentation": rasterise.run_lengths(where),
                    }
                )
        content = {"images": images, "annotations": annotations, "categories": tables}
        text = json.dumps(content, separators=(",", ":"))
        (root / "annotations" / f"instances_{part}.json").write_text(text, encoding="utf-8", newline="\n")


def _coco_scene(rng: np.random.Generator, chosen: list[int]) -> tuple[paint.Floats, NDArray[np.uint8]]:
    """A scene, and for each pixel the place (1-based) in `chosen` of the figure seen there."""
    width, height = _COCO_SIZE
    scene = paint.ground(rng, height, width)
    owner = np.zeros((height, width), dtype=np.uint8)
    for cell, slot in enumerate(rng.permutation(len(chosen))):
        column, row = cell % 3, cell // 3
        x = (column + 0.5 + rng.uniform(-0.12, 0.12)) * width / 3
        y = (row + 0.5 + rng.uniform(-0.12, 0.12)) * height / 2
        look = paint.look(2, chosen[int(slot)])
        owner[paint.figure(scene, look, (x, y), rng.uniform(0.09, 0.14) * width, rng)] = slot + 1
    return scene, owner


def fss_classes(root: Path, seed: int) -> None:
    """Write class folders with 1..10.jpg and RGB masks 1..10.png, 224 pixels square, one object each."""
    for number, name in enumerate(FSS_NAMES):
        placing.folder(root / name)
        for index in range(1, 11):
            rng = paint.generator(seed, 3, number, index)
            scene = paint.ground(rng, _FSS_SIZE, _FSS_SIZE)
            centre = (rng.uniform(0.38, 0.62) * _FSS_SIZE, rng.uniform(0.4, 0.65) * _FSS_SIZE)
            radius = rng.uniform(0.16, 0.33) * _FSS_SIZE
            where = paint.figure(scene, paint.look(3, number), centre, radius, rng)
            paint.finish(scene).save(root / name / f"{index}.jpg", quality=88)
            Image.fromarray(where).convert("RGB").save(root / name / f"{index}.png")
