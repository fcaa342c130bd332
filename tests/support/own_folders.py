"""Writes folders of a user's own: the same images and masks in every layout that `fssbench data adopt` knows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Labels = NDArray[np.uint8]
"""0 background, 1.. the classes, 255 ignored."""
COLOURS = ((0, 0, 0), (255, 0, 0), (0, 200, 0), (10, 20, 250))


def draw_image(number: int, shape: tuple[int, int] = (12, 10)) -> Image.Image:
    """A photograph-like image that no other number gives."""
    pixels = np.random.default_rng(number).integers(0, 256, (*shape, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def draw_labels(number: int, classes: int = 1, shape: tuple[int, int] = (12, 10)) -> Labels:
    """Labels with a rectangle of each class."""
    labels = np.zeros(shape, dtype=np.uint8)
    for value in range(1, classes + 1):
        labels[3 * value - 2 : 3 * value, 1 + number % 3 : 6] = value
    return labels


def write_binary(root: Path, masks: Sequence[Labels], *, value: int = 255, suffix: str = "") -> None:
    """images/ and masks/ of one class."""
    for number, labels in enumerate(masks):
        save(draw_image(number), root / "images" / f"{number}.png")
        save(
            Image.fromarray((labels == 1).astype(np.uint8) * np.uint8(value)),
            root / "masks" / f"{number}{suffix}.png",
        )


def write_index(root: Path, masks: Sequence[Labels]) -> None:
    """images/ and masks/ of class indices, with names of the classes."""
    for number, labels in enumerate(masks):
        save(draw_image(number), root / "images" / f"{number}.jpg")
        save(Image.fromarray(labels), root / "masks" / f"{number}.png")
    (root / "classes.txt").write_text("1 one\n2 two\n3 three\n")


def write_colours(root: Path, masks: Sequence[Labels]) -> None:
    """images/ and masks/ in the colours of palette.csv; white is ignored."""
    table = np.full((256, 3), 255, dtype=np.uint8)
    table[: len(COLOURS)] = COLOURS
    for number, labels in enumerate(masks):
        save(draw_image(number), root / "images" / f"{number}.png")
        save(Image.fromarray(table[labels]), root / "masks" / f"{number}.bmp")
    names = ("background", "one", "two", "three")
    lines = [f"{r},{g},{b},{name}" for (r, g, b), name in zip(COLOURS, names, strict=True)]
    (root / "palette.csv").write_text("\n".join(["red,green,blue,name", *lines, "255,255,255,ignored"]))


def write_class_folders(root: Path, masks: Sequence[Labels]) -> None:
    """CLASS/images and CLASS/masks; an image of two classes lies in both."""
    for number, labels in enumerate(masks):
        for value, name in enumerate(("one", "three", "two"), start=1):  # ids go by name
            value = {"one": 1, "two": 2, "three": 3}[name]
            if (labels == value).any():
                save(draw_image(number), root / name / "images" / f"{number}.png")
                mask = Image.fromarray((labels == value).astype(np.uint8) * np.uint8(255))
                save(mask, root / name / "masks" / f"{number}.png")


def _encode(where: NDArray[np.bool_]) -> dict[str, Any]:
    flat = where.T.ravel()
    counts, last = [0], False
    for value in flat.tolist():
        if value != last:
            counts.append(0)
            last = value
        counts[-1] += 1
    return {"size": list(where.shape), "counts": counts}


def _write_tables(
    root: Path, masks: Sequence[Labels], name: str, annotations: Sequence[Mapping[str, Any]]
) -> None:
    images = []
    for number, labels in enumerate(masks):
        save(draw_image(number, labels.shape), root / "images" / f"{number}.png")
        height, width = labels.shape
        images.append({"id": 100 + number, "file_name": f"{number}.png", "width": width, "height": height})
    categories = [{"id": 10 * v, "name": n} for v, n in enumerate(("one", "two", "three"), start=1)]
    content = {"images": images, "categories": categories, "annotations": list(annotations)}
    (root / name).write_text(json.dumps(content))


def write_instances(root: Path, masks: Sequence[Labels]) -> None:
    """images/ and annotations.json with run lengths; two rows of a region are two annotations."""
    annotations = []
    for number, labels in enumerate(masks):
        for value in (1, 2, 3):
            where = labels == value
            half = np.zeros_like(where)
            half[: len(where) // 2] = where[: len(where) // 2]
            for part in (half, where & ~half):
                if part.any():
                    annotations.append(
                        {"id": len(annotations), "image_id": 100 + number, "category_id": 10 * value,
                         "segmentation": _encode(part), "iscrowd": 1}
                    )  # fmt: skip
    _write_tables(root, masks, "annotations.json", annotations)


def write_panoptic(root: Path, masks: Sequence[Labels]) -> None:
    """images/, panoptic.json and panoptic/ with a segment for each class; label 255 and background are void."""
    annotations = []
    for number, labels in enumerate(masks):
        ids = {value: 1000 * value + number for value in (1, 2, 3)}
        codes = np.zeros(labels.shape, dtype=np.int64)
        for value, code in ids.items():
            codes[labels == value] = code
        pixels = np.stack([codes % 256, codes // 256 % 256, codes // 65536], axis=-1).astype(np.uint8)
        save(Image.fromarray(pixels), root / "panoptic" / f"{number}.png")
        infos = [{"id": c, "category_id": 10 * v} for v, c in ids.items() if (labels == v).any()]
        annotations.append({"image_id": 100 + number, "file_name": f"{number}.png", "segments_info": infos})
    _write_tables(root, masks, "panoptic.json", annotations)


LAYOUTS: dict[str, Callable[[Path, Sequence[Labels]], None]] = {
    "index": write_index,
    "colours": write_colours,
    "class folders": write_class_folders,
    "coco instances": write_instances,
    "coco panoptic": write_panoptic,
}
"""Layouts of several classes called one, two and three."""
