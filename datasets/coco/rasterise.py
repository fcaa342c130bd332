"""`prepare` of COCO: `instances_*.json` becomes one index PNG per image.

Every pixel can hold one label, and COCO's regions overlap.  The rule: crowd regions lie lowest, then
regions from large to small (by drawn pixels, ties by annotation id), so that a cup on a table stays
visible.  Every polygon of an annotation is drawn.  The masks that the reference repositories give
out were made by an unpublished script and differ from these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fssbench.api import DataError, decode_region, has_region, list_files, read_size

from ..shared import palette, placing
from ..shared.staging import stage_and_merge
from .instances import (
    Instances,
    has_number,
    image_id,
    read_instances,
)


def prepare(source: Path, data: Path, classes: Sequence[str]) -> Iterator[str]:
    """Draw the masks of every `instances_*.json` below `source`; images and lists are linked or copied.

    Every record is checked before the first mask of its file is drawn, and nothing has its final name before
    everything is drawn.

    Args:
        source: the release: `annotations/instances_val2017.json`, `val2017/` (or `images/val2017/`), ...
        data: folder of all data sets; `COCO2014` or `COCO2017` is filled in below it.
        classes: the 80 names in order of their category ids.

    Yields:
        One line per step.

    Raises:
        DataError: if a file is missing or malformed, an annotation cannot be drawn, nothing can be drawn, or
            pycocotools is needed and absent.
    """
    paths = [p for d in ("", "COCO2017", "COCO2014", "coco") for p in _find_instances_files(source / d)]
    if not paths:
        raise DataError(f"{source} holds no annotations/instances_{{train,val}}{{2014,2017}}.json")
    by_year: dict[str, list[tuple[Path, Path]]] = {}
    for path in paths:
        part = path.stem.removeprefix("instances_")
        base = path.parent.parent
        images = next((p for p in (base / part, base / "images" / part) if p.is_dir()), None)
        if images is None:
            raise DataError(f"{path} is there, but not its image folder {base / part}")
        by_year.setdefault(part[-4:], []).append((path, images))
    for year, parts in by_year.items():
        target = data / f"COCO{year}"
        with stage_and_merge(target) as folder:
            for path, images in parts:
                yield from _prepare_part(path, images, target, folder, classes)


def _find_instances_files(base: Path) -> list[Path]:
    names = [f"instances_{split}{year}.json" for year in ("2014", "2017") for split in ("train", "val")]
    return [base / "annotations" / n for n in names if (base / "annotations" / n).is_file()]


def _prepare_part(
    path: Path, images: Path, target: Path, folder: Path, classes: Sequence[str]
) -> Iterator[str]:
    """Check one file and draw its masks below `folder`, which becomes part of `target`."""
    part = path.stem.removeprefix("instances_")
    by_number = _list_images_by_number(images)
    yield f"{part}: {len(by_number):,} images"
    instances = read_instances(path, classes)
    if instances.without_region:
        ids = instances.without_region
        shown = ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")
        yield f"{part}: {len(ids):,} annotations without a region draw nothing (ids {shown})"
    present = [record for record in instances.images if record.number in by_number]
    if not present:
        raise DataError(
            f"none of the {len(instances.images):,} images that {path} lists is in {images}, by the number in "
            "their names. Next: get the images of this release"
        )
    _check_sizes(path, instances, {number: images / name for number, name in by_number.items()})
    if not placing.is_same_folder(images, target / part):
        placing.place_files(images, folder / part, ".jpg")
    masks = placing.make_folder(folder / "annotations" / part)
    if not placing.is_same_folder(path.parent, target / "annotations"):
        placing.place_file(path, masks.parent / path.name)
    for record in present:
        label = draw_mask(record.annotations, instances.labels, record.height, record.width)
        palette.save_labels(label, masks / f"{Path(by_number[record.number]).stem}.png")
    missing = len(instances.images) - len(present)
    yield f"annotations/{part}: {len(present):,} masks drawn" + (
        f"; {missing:,} images of the list are not on disk" if missing else ""
    )


def _list_images_by_number(folder: Path) -> dict[str, str]:
    """Map COCO's image numbers to file names on disk.

    Raises:
        DataError: if two files have one number.
    """
    by_number: dict[str, str] = {}
    for name, on_disk in list_files(folder, ".jpg").items():
        if has_number(name):
            other = by_number.setdefault(image_id(name), on_disk)
            if other != on_disk:
                raise DataError(f"{folder / other} and {on_disk} have one number; keep one of them")
    return by_number


def _check_sizes(path: Path, instances: Instances, on_disk: dict[str, Path]) -> None:
    """Compare the sizes of the images with those that the file gives.

    Raises:
        DataError: if one differs, or an image is unreadable.
    """
    problems = []
    for record in instances.images:
        if record.number not in on_disk:
            continue
        try:
            width, height = read_size(on_disk[record.number])
        except DataError as error:
            problems.append(str(error))
            continue
        if (width, height) != (record.width, record.height):
            problems.append(
                f"image {on_disk[record.number].name} is {width}x{height}, its annotations are for "
                f"{record.width}x{record.height}"
            )
    placing.refuse_problems(str(path), problems, "get these images from COCO again")


def draw_mask(
    annotations: Sequence[dict[str, Any]], labels: dict[int, int], height: int, width: int
) -> NDArray[np.uint8]:
    """Draw the index mask (height, width) of one image's annotations, by the rule of this module."""
    layers = []
    for annotation in annotations:
        if has_region(annotation["segmentation"]):
            where = decode_region(annotation["segmentation"], height, width)
            order = (not annotation.get("iscrowd", 0), -int(where.sum()), annotation["id"])
            layers.append((order, labels[annotation["category_id"]], np.packbits(where)))
    mask = np.zeros((height, width), dtype=np.uint8)
    for _, label, packed in sorted(layers, key=lambda layer: layer[0]):
        # packed, because an image may have hundreds of regions
        mask[np.unpackbits(packed, count=mask.size).reshape(mask.shape).view(np.bool_)] = label
    return mask


def encode_run_lengths(where: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the plain run lengths of a region (H, W), column by column, starting with zeros."""
    flat = where.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0], edges, [flat.size]])
    runs = [int(r) for r in np.diff(bounds)]
    return {"counts": [0, *runs] if flat[0] else runs, "size": [int(where.shape[0]), int(where.shape[1])]}
