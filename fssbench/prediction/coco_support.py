"""The mask of a labelled example from COCO JSON: all regions of one category in one image."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fssbench.errors import DataError, UsageError, make_unknown_error
from fssbench.files.regular import MEBIBYTE, read_regular
from fssbench.images.coco_regions import check_segmentation, decode_region, has_region
from fssbench.images.mask_values import IGNORE
from fssbench.plural import describe_count

_MOST_BYTES = 2048 * MEBIBYTE
"""Size of the largest file that is read."""
_TABLES = ("images", "annotations", "categories")


def read_coco_mask(
    path: Path, image_name: str, category: str | None, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Draw the regions of a category in an image.

    Args:
        path: an instances file.
        image_name: the file name of the image, without folders.
        category: name or id of the category; None if the file has one only.
        size: width and height of the image.

    Returns:
        The mask (H, W): 1 is the object, 0 the background, 255 a crowd region, which holds objects and background.

    Raises:
        UsageError: for an unknown category, or if one must be named.
        DataError: if the file is damaged, lists other images, or a region cannot be drawn.
    """
    tables = _read_tables(path)
    record = _find_image(path, tables["images"], image_name)
    listed = (record.get("width"), record.get("height"))
    if listed != size:
        raise DataError(
            f"{path}: image {image_name} has {listed[0]}x{listed[1]} pixels there, but the file has "
            f"{size[0]}x{size[1]}. Next: give the image that was annotated"
        )
    names = {entry.get("id"): str(entry.get("name")) for entry in tables["categories"]}
    number = _find_category(path, names, category)
    own = [entry for entry in tables["annotations"] if entry.get("image_id") == record.get("id")]
    mask = np.zeros((size[1], size[0]), np.uint8)
    crowd = np.zeros_like(mask, dtype=np.bool_)
    for entry in own:
        if entry.get("category_id") != number or not has_region(entry.get("segmentation")):
            continue
        region = _draw_region(path, entry, mask.shape)
        if entry.get("iscrowd"):
            crowd |= region
        else:
            mask[region] = 1
    mask[crowd & (mask == 0)] = IGNORE
    if not (mask == 1).any():
        present = sorted({names.get(entry.get("category_id"), "?") for entry in own})
        raise DataError(
            f"{path}: image {image_name} has no region of the category {names[number]!r}. Its categories are "
            f"{', '.join(present) or 'none'}. Next: --category NAME"
        )
    return mask


def _read_tables(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = json.loads(read_regular(path, _MOST_BYTES))
    except FileNotFoundError:
        raise DataError(f"file {path} is missing") from None
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"{path} is not readable JSON ({error or type(error).__name__})") from None
    for name in _TABLES:
        table = content.get(name) if isinstance(content, dict) else None
        if not isinstance(table, list) or not all(isinstance(entry, dict) for entry in table):
            raise DataError(
                f"{path} has no list {name!r} of records, so it is not a COCO instances file. Next: export the labels "
                "from your tool as COCO instances, or as a PNG mask of 0 and 255"
            )
    return {name: content[name] for name in _TABLES}


def _find_image(path: Path, images: list[dict[str, Any]], name: str) -> dict[str, Any]:
    same = [record for record in images if PurePosixPath(str(record.get("file_name"))).name == name]
    if len(same) == 1:
        return same[0]
    if same:
        listed = ", ".join(str(record["file_name"]) for record in same[:3])
        raise DataError(f"{path} lists several images of the name {name}: {listed}. Next: keep one of them")
    listed = ", ".join(str(record.get("file_name")) for record in images[:3])
    raise DataError(
        f"{path} does not list the image {name}, but {describe_count(len(images), 'other')}, such as "
        f"{listed or 'none'}. "
        "Next: give the image that was annotated, under its own name"
    )


def _find_category(path: Path, names: dict[Any, str], category: str | None) -> Any:
    if category is None:
        if len(names) == 1:
            return next(iter(names))
        raise UsageError(
            f"{path} has {len(names)} categories: {', '.join(sorted(names.values()))}. Next: --category NAME"
        )
    by_name = [number for number, name in names.items() if name == category]
    if len(by_name) == 1:
        return by_name[0]
    if len(by_name) > 1:
        raise UsageError(
            f"{path} has {len(by_name)} categories of the name {category!r}, with the ids "
            f"{', '.join(map(str, by_name))}. Next: --category ID"
        )
    by_id = [number for number in names if str(number) == category]
    if by_id:
        return by_id[0]
    raise make_unknown_error(f"category of {path}", category, names.values(), hint="Next: --category NAME")


def _draw_region(path: Path, entry: dict[str, Any], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    height, width = shape
    try:
        check_segmentation(entry["segmentation"], height, width)
        return decode_region(entry["segmentation"], height, width)
    except ValueError as error:
        raise DataError(
            f"{path}: annotation {entry.get('id')}: {error}. Next: correct or remove the record"
        ) from None
