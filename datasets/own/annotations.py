"""Annotation files of COCO's form, with any categories: instances, and panoptic segments.

A class of an image is the union of all its regions, crowds included; regions of two classes may overlap.  Every record
is checked before a region is drawn, by the rules of `fssbench.datasets.coco`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from fssbench.api import DataError, State, check_segmentation, decode_region, has_region, read_file_state

from ..coco.instances import load_tables

_SHOWN = 5


@dataclass(frozen=True)
class ImageRecord:
    """One image of an annotation file."""

    name: str
    """Path of the image below the folder of images."""
    width: int
    height: int
    regions: Mapping[int, tuple[Any, ...]] = field(default_factory=dict)
    """Segmentations by category id; empty for a category with an annotation that has no region."""
    mask: str | None = None
    """For panoptic files: path of the PNG of segments."""
    segments: Mapping[int, int] = field(default_factory=dict)
    """For panoptic files: category id by segment id."""


@dataclass(frozen=True)
class Annotations:
    """The content of a checked annotation file."""

    categories: dict[int, str]
    """Names by category id."""
    images: dict[int, ImageRecord]


def load_annotations(path: Path, *, panoptic: bool) -> Annotations:
    """Read an annotation file and check every record; a file is read once per state.

    Raises:
        DataError: if it is missing or malformed; the message names the first records that are wrong.
    """
    try:
        return _load(path, read_file_state(path), panoptic)
    except OSError as error:
        raise DataError(f"annotation file {path} cannot be read ({error.strerror})") from None


@lru_cache(maxsize=8)
def _load(path: Path, state: State, panoptic: bool) -> Annotations:
    content = load_tables(path)
    problems: list[str] = []
    categories = _read_categories(content["categories"], problems)
    images = _read_images(content["images"], problems)
    read = _read_segments if panoptic else _read_regions
    records = read(content["annotations"], images, categories, problems)
    if problems:
        shown = "; ".join(problems[:_SHOWN])
        more = f"; and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
        raise DataError(f"{path}: {shown}{more}. Next: correct these records or remove them")
    return Annotations(categories, records)


def _is_id(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _read_categories(records: list[Any], problems: list[str]) -> dict[int, str]:
    categories: dict[int, str] = {}
    for record in records:
        if not isinstance(record, dict) or not _is_id(record.get("id")) or not record.get("name"):
            problems.append(f"category {record!r:.80} has an id that is not a whole number, or no name")
        elif record["id"] in categories:
            problems.append(f"two categories have the id {record['id']}")
        else:
            categories[record["id"]] = str(record["name"])
    return categories


def _read_images(records: list[Any], problems: list[str]) -> dict[int, dict[str, Any]]:
    images: dict[int, dict[str, Any]] = {}
    names: Counter[str] = Counter()
    for record in records:
        if not isinstance(record, dict) or not _is_id(record.get("id")):
            problems.append(f"image {record!r:.80}: its id is not a whole number")
            continue
        name, sides = record.get("file_name"), (record.get("width"), record.get("height"))
        if not _is_inner_path(name):
            problems.append(
                f"image {record['id']}: file_name {name!r:.80} is not a path below the folder of images"
            )
        elif not all(_is_id(side) and side > 0 for side in sides):
            problems.append(f"image {name}: width and height are {sides[0]!r} and {sides[1]!r}")
        elif record["id"] in images or names[name]:
            problems.append(f"image {name}: its id {record['id']} or its name occurs twice")
        else:
            images[record["id"]] = record
            names[name] += 1
    return images


def _is_inner_path(name: Any) -> TypeGuard[str]:
    if not isinstance(name, str) or not name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and str(path) == name


def _read_regions(
    records: list[Any], images: dict[int, dict[str, Any]], categories: Mapping[int, str], problems: list[str]
) -> dict[int, ImageRecord]:
    regions: dict[int, dict[int, list[Any]]] = {number: {} for number in images}
    lacking: set[tuple[int, int]] = set()
    ids: set[int] = set()
    for record in records:
        problem = _find_problem(record, ids, images, categories)
        if problem is not None:
            problems.append(problem)
            continue
        image, category = record["image_id"], record["category_id"]
        regions[image].setdefault(category, [])
        if has_region(record.get("segmentation")):
            regions[image][category].append(record["segmentation"])
        else:
            lacking.add((image, category))
    return {
        number: ImageRecord(
            image["file_name"],
            image["width"],
            image["height"],
            {c: () if (number, c) in lacking else tuple(each) for c, each in regions[number].items()},
        )
        for number, image in images.items()
    }


def _find_problem(
    record: Any, ids: set[int], images: Mapping[int, dict[str, Any]], categories: Mapping[int, str]
) -> str | None:
    """Return why an annotation cannot be used, or None if it can."""
    if not isinstance(record, dict) or not _is_id(record.get("id")):
        return f"annotation {record!r:.80}: its id is not a whole number"
    number, image = record["id"], record.get("image_id")
    if number in ids:
        return f"annotation {number}: this id occurs twice"
    ids.add(number)
    if not _is_id(image) or image not in images:
        return f"annotation {number}: image_id {image!r:.40} is not in the list of images"
    where = f"image {images[image]['file_name']}, annotation {number}"
    if record.get("category_id") not in categories:
        return f"{where}: category_id {record.get('category_id')!r:.40} is not in the list of categories"
    try:
        check_segmentation(record.get("segmentation"), images[image]["height"], images[image]["width"])
    except ValueError as error:
        return f"{where}: {error}"
    return None


def _read_segments(
    records: list[Any], images: dict[int, dict[str, Any]], categories: Mapping[int, str], problems: list[str]
) -> dict[int, ImageRecord]:
    made: dict[int, ImageRecord] = {}
    for record in records:
        image = record.get("image_id") if isinstance(record, dict) else None
        infos = record.get("segments_info") if isinstance(record, dict) else None
        if not _is_id(image) or image not in images or image in made:
            problems.append(
                f"image_id {image!r:.40} of an annotation is not in the list of images, or occurs twice"
            )
            continue
        where = f"image {images[image]['file_name']}"
        if not _is_inner_path(record.get("file_name")) or not isinstance(infos, list):
            problems.append(
                f"{where}: file_name {record.get('file_name')!r:.80} is no path, or segments_info no list"
            )
            continue
        segments: dict[int, int] = {}
        for info in infos:
            number = info.get("id") if isinstance(info, dict) else None
            category = info.get("category_id") if isinstance(info, dict) else None
            if not _is_id(number) or number in segments or not 0 < number < 1 << 24:
                problems.append(
                    f"{where}: segment id {number!r:.40} is not between 1 and {(1 << 24) - 1}, or occurs twice"
                )
            elif not _is_id(category) or category not in categories:
                problems.append(f"{where}: category_id {category!r:.40} is not in the list of categories")
            else:
                segments[number] = category
        made[image] = ImageRecord(
            images[image]["file_name"], images[image]["width"], images[image]["height"],
            mask=record["file_name"], segments=segments,
        )  # fmt: skip
    return made


def draw_category(record: ImageRecord, category: int) -> NDArray[np.bool_]:
    """Return the pixels (H, W) of all regions of a category.

    Raises:
        DataError: if a polygon is to be drawn and pycocotools is absent.
    """
    drawn = np.zeros((record.height, record.width), dtype=np.bool_)
    for segmentation in record.regions.get(category, ()):
        drawn |= decode_region(segmentation, record.height, record.width)
    return drawn
