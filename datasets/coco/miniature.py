"""The miniature of COCO, painted as the release is published.

Its image numbers begin at 900,000,001 and never coincide with real ones, so that no reference list can name a
painted image.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..shared import paint, placing
from . import rasterise

_SIZE = (272, 204)
"""Width and height of the images, in pixels."""


def write_release(root: Path, seed: int, classes: Sequence[str], counts: dict[str, int]) -> None:
    """Write a COCO release: `train2017/`, `val2017/` and `annotations/instances_*.json`.

    Regions are stored as plain run lengths, so that `prepare` reads them with and without
    pycocotools and gives the same masks.  Category ids have gaps, as in the real release.

    Args:
        root: the folder that becomes `COCO2017`.
        seed: of the miniature.
        classes: the 80 names.
        counts: images by part ("train2017", "val2017"); six classes an image, in turn.
    """
    placing.make_folder(root / "annotations")
    ids = [n + 1 + n // 9 for n in range(len(classes))]
    tables = [{"id": i, "name": n, "supercategory": "mini"} for i, n in zip(ids, classes, strict=True)]
    number = 900_000_000
    for part, count in counts.items():
        placing.make_folder(root / part)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(count):
            number += 1
            shown = [(6 * index + k) % len(classes) for k in range(6)]
            scene, owner = _paint_scene(paint.make_generator(seed, 2, number), shown)
            name = f"{number:012d}.jpg"
            paint.finish_scene(scene).save(root / part / name, quality=86)
            height, width = owner.shape
            images.append({"id": number, "file_name": name, "height": height, "width": width, "license": 0})
            for slot, class_id in enumerate(shown):
                where = owner == slot + 1
                annotations.append(
                    {
                        "id": number * 10 + slot,
                        "image_id": number,
                        "category_id": ids[class_id],
                        "iscrowd": int(index % 12 == 0 and slot == 0),
                        "area": int(where.sum()),
                        "segmentation": rasterise.encode_run_lengths(where),
                    }
                )
        content = {"images": images, "annotations": annotations, "categories": tables}
        text = json.dumps(content, separators=(",", ":"))
        (root / "annotations" / f"instances_{part}.json").write_text(text, encoding="utf-8", newline="\n")


def _paint_scene(rng: np.random.Generator, shown: list[int]) -> tuple[paint.Floats, NDArray[np.uint8]]:
    """Paint a scene, and return for each pixel the 1-based position in `shown` of the figure that is visible there."""
    width, height = _SIZE
    scene = paint.paint_ground(rng, height, width)
    owner = np.zeros((height, width), dtype=np.uint8)
    for cell, slot in enumerate(rng.permutation(len(shown))):
        column, row = cell % 3, cell // 3
        x = (column + 0.5 + rng.uniform(-0.12, 0.12)) * width / 3
        y = (row + 0.5 + rng.uniform(-0.12, 0.12)) * height / 2
        look = paint.choose_look(2, shown[int(slot)])
        owner[paint.paint_figure(scene, look, (x, y), rng.uniform(0.09, 0.14) * width, rng)] = slot + 1
    return scene, owner
