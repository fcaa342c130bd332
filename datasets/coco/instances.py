"""COCO's `instances_*.json`, checked record by record before anything is drawn.

A coordinate reaches the C code of pycocotools only if it is a finite number near the image.  NaN and huge values make
that code crash or use all memory.  Run lengths are decoded here, because pycocotools does not check their sum.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fssbench.api import DataError

from ..shared.placing import refuse_problems

TOLERANCE = 0.05
"""A coordinate may lie outside of the image by this part of the longer side.  COCO's own stay inside; those
further off belong to an image of another size."""
TOLERANCE_PIXELS = 5.0
"""Number of pixels by which a coordinate may always lie outside of the image."""
LONGEST_BOUNDARY = 2_000_000
"""Maximum number of pixels of one annotation's boundary.  pycocotools needs about 100 bytes for each."""

_NUMBER = re.compile(r"(\d{12})\.jpg$", re.IGNORECASE)


def image_id(item: str) -> str:
    """Return the twelve digits that name an image in every release, from an item or file name.

    Raises:
        DataError: if the name has none.
    """
    number = _NUMBER.search(item)
    if number is None:
        raise DataError(f"{item!r} is not a COCO image name: it must end with twelve digits and .jpg")
    return number[1]


def has_number(name: str) -> bool:
    """Return whether a file name ends with COCO's twelve digits and .jpg."""
    return _NUMBER.search(name) is not None


@dataclass(frozen=True)
class ImageRecord:
    """One image of the file, with its annotations."""

    number: str
    """The twelve digits that name it in every release."""
    name: str
    """File name as the file gives it."""
    width: int
    height: int
    annotations: tuple[dict[str, Any], ...]
    """Annotations that have a region."""


@dataclass(frozen=True)
class Instances:
    """The content of a checked file."""

    images: tuple[ImageRecord, ...]
    labels: dict[int, int]
    """Label 1..80 by category id."""
    without_region: tuple[int, ...]
    """Ids of the annotations that have no region.  They draw nothing, as in COCO's own tools."""


def load_tables(path: Path) -> dict[str, Any]:
    """Load an instances file with its three tables.

    Raises:
        DataError: if it is not JSON, lacks one of `images`, `annotations`, `categories`, or holds a number
            that JSON does not have (NaN, Infinity).
    """
    constants: list[str] = []

    def remember(name: str) -> float:
        constants.append(name)
        return float(name)

    try:
        content: dict[str, Any] = json.loads(path.read_bytes(), parse_constant=remember)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"{path} is not readable JSON ({error or type(error).__name__})") from None
    for table in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(table), list):
            raise DataError(f"{path} has no list {table!r}; expected a COCO instances file")
    if constants:
        place = _find_constant(content) or "a field that is not read"
        raise DataError(
            f"{path}: {place} holds {constants[0]}, which is not a JSON number; coordinates must be finite "
            "numbers near the image. Next: correct the record or remove it, or get the file again"
        )
    return content


def _find_constant(content: dict[str, Any]) -> str | None:
    names = {
        str(i.get("id")): f"image {i.get('file_name')}" for i in content["images"] if isinstance(i, dict)
    }
    for table in ("annotations", "images", "categories"):
        for record in content[table]:
            fields = record.items() if isinstance(record, dict) else ()
            for field, value in fields:
                if not _is_finite(value):
                    image = names.get(str(record.get("image_id")), "")
                    of_image = f"{image}, " if table == "annotations" and image else ""
                    return f"{of_image}{table.removesuffix('s')} {record.get('id')}: field {field!r}"
    return None


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return all(map(_is_finite, value)) if isinstance(value, list) else True


def read_categories(content: dict[str, Any], classes: Sequence[str], path: Path) -> dict[int, int]:
    """Map category ids to labels 1..80, in order of the ids.

    Raises:
        DataError: if the categories are not COCO's 80, naming those that differ.
    """
    for record in content["categories"]:
        if not isinstance(record, dict) or not _is_id(record.get("id")) or "name" not in record:
            raise DataError(
                f"{path}: category {record!r:.80} has an id that is not a whole number, or no name"
            )
    listed = sorted((record["id"], str(record["name"])) for record in content["categories"])
    if [name for _, name in listed] != list(classes) or len({i for i, _ in listed}) < len(listed):
        strange = sorted({name for _, name in listed} ^ set(classes))
        shown = ", ".join(strange[:8]) or "their order, or an id that occurs twice"
        raise DataError(f"{path}: categories are not COCO's {len(classes)}; what differs: {shown}")
    return {category: label for label, (category, _) in enumerate(listed, start=1)}


def read_instances(path: Path, classes: Sequence[str]) -> Instances:
    """Read an instances file and check every record of it.

    Raises:
        DataError: if the file is not an instances file, or a record cannot be drawn: it is named with image,
            annotation id and reason.
    """
    content = load_tables(path)
    labels = read_categories(content, classes, path)
    problems: list[str] = []
    images = check_images(content["images"], problems)
    by_image: dict[int, list[dict[str, Any]]] = {}
    without_region: list[int] = []
    ids: set[int] = set()
    for annotation in content["annotations"]:
        problem = _find_problem(annotation, ids, images, labels)
        if problem is not None:
            problems.append(problem)
        elif not has_region(annotation.get("segmentation")):
            without_region.append(annotation["id"])
        else:
            by_image.setdefault(annotation["image_id"], []).append(annotation)
    next_step = "correct these records or remove them, or get the file again"
    refuse_problems(str(path), problems, next_step)
    records = tuple(
        ImageRecord(
            image_id(i["file_name"]), i["file_name"], i["width"], i["height"], tuple(by_image.get(key, ()))
        )
        for key, i in images.items()
    )
    return Instances(records, labels, tuple(without_region))


def check_images(records: list[Any], problems: list[str]) -> dict[int, dict[str, Any]]:
    """Check the records of images and return the good ones by id."""
    images: dict[int, dict[str, Any]] = {}
    numbers: dict[str, str] = {}
    for record in records:
        if not isinstance(record, dict) or not _is_id(record.get("id")):
            problems.append(f"image {record!r:.80}: its id is not a whole number")
            continue
        name, sides = record.get("file_name"), (record.get("width"), record.get("height"))
        if not isinstance(name, str) or not has_number(name):
            problems.append(f"image {record['id']}: file_name {name!r} does not end with 12 digits and .jpg")
        elif record["id"] in images:
            problems.append(f"image {name}: id {record['id']} occurs twice")
        elif image_id(name) in numbers:
            problems.append(f"image {name}: the same number as {numbers[image_id(name)]}")
        elif not all(isinstance(side, int) and side > 0 for side in sides):
            problems.append(f"image {name}: width and height are {sides[0]!r} and {sides[1]!r}")
        else:
            images[record["id"]] = record
            numbers[image_id(name)] = name
    return images


def _find_problem(
    annotation: Any, ids: set[int], images: dict[int, dict[str, Any]], labels: dict[int, int]
) -> str | None:
    """Return why an annotation cannot be drawn, or None if it can."""
    if not isinstance(annotation, dict) or not _is_id(annotation.get("id")):
        return f"annotation {annotation!r:.80}: its id is not a whole number"
    number, image, category = annotation["id"], annotation.get("image_id"), annotation.get("category_id")
    if number in ids:
        return f"annotation {number}: this id occurs twice"
    ids.add(number)
    if not _is_id(image) or image not in images:
        return f"annotation {number}: image_id {image!r:.40} is not in the list of images"
    record = images[image]
    where = f"image {record['file_name']}, annotation {number}"
    if not _is_id(category) or category not in labels:
        return f"{where}: category_id {category!r:.40} is not in the list of categories"
    if annotation.get("iscrowd", 0) not in (0, 1):
        return f"{where}: iscrowd is {annotation['iscrowd']!r:.40}, allowed are 0 and 1"
    try:
        check_segmentation(annotation.get("segmentation"), record["height"], record["width"])
    except ValueError as error:
        return f"{where}: {error}"
    return None


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def has_region(segmentation: Any) -> bool:
    """Return whether a segmentation holds anything: `null`, `[]` and `[[]]` do not."""
    if isinstance(segmentation, list):
        return any(part != [] for part in segmentation)
    return segmentation is not None


def check_segmentation(segmentation: Any, height: int, width: int) -> None:
    """Check that a segmentation can be drawn into an image.

    Raises:
        ValueError: if it cannot, with the reason.
    """
    if isinstance(segmentation, dict):
        read_runs(segmentation, height, width)
    elif has_region(segmentation):
        read_polygons(segmentation, height, width)


def read_polygons(segmentation: Any, height: int, width: int) -> list[list[float]]:
    """Read polygons as lists x, y, x, y, ...; those without a number are left out.

    Raises:
        ValueError: if one is not a polygon, or lies outside of the image.
    """
    if not isinstance(segmentation, list):
        raise ValueError(f"segmentation is {segmentation!r:.40}, expected polygons or run lengths")
    polygons = [polygon for polygon in segmentation if polygon != []]
    margin = max(TOLERANCE_PIXELS, TOLERANCE * max(height, width))
    length = 0.0
    for polygon in polygons:
        if not isinstance(polygon, list):
            raise ValueError(f"polygon {polygon!r:.40} is not a list of numbers")
        if not set(map(type, polygon)) <= {int, float}:
            raise ValueError(f"polygon {polygon!r:.60} contains something that is not a number")
        if len(polygon) < 6 or len(polygon) % 2:
            box = ", which COCO's tools take for a box" if len(polygon) == 4 else ""
            raise ValueError(
                f"a polygon has {len(polygon)} numbers{box}; allowed are x, y pairs of 3 points or more"
            )
        try:
            points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
        except OverflowError:
            points = np.full((1, 2), np.inf)
        low, high = points.min(axis=0), points.max(axis=0)
        if not (
            np.isfinite(points).all() and low.min() >= -margin and (high - margin <= (width, height)).all()
        ):
            off = next(
                v for i, v in enumerate(polygon) if not -margin <= v <= (height if i % 2 else width) + margin
            )
            raise ValueError(
                f"coordinate {off!r:.30} is outside of the image of {width}x{height} pixels; allowed are finite "
                f"numbers within {margin:g} pixels of it"
            )
        closed = np.concatenate([points, points[:1]])
        length += float(np.abs(np.diff(closed, axis=0)).max(axis=1).sum())
    if length > LONGEST_BOUNDARY:
        raise ValueError(f"its boundary has {length:,.0f} pixels, allowed are {LONGEST_BOUNDARY:,}")
    return polygons


def read_runs(segmentation: dict[str, Any], height: int, width: int) -> NDArray[np.int64]:
    """Read run lengths, compressed or plain: zeros, ones, zeros, ..., column by column.

    Raises:
        ValueError: if they are malformed or do not fill the image.
    """
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, (list, tuple)) or list(size) != [height, width]:
        turned = " (height and width are swapped)" if size == [width, height] else ""
        raise ValueError(
            f"run lengths do not fill the image: their size is {size!r:.40}, expected [{height}, {width}]{turned}"
        )
    if isinstance(counts, (str, bytes)):
        counts = _decompress(counts.encode() if isinstance(counts, str) else counts)
    if not isinstance(counts, list) or not set(map(type, counts)) <= {int}:
        raise ValueError(f"run lengths {counts!r:.40} are not whole numbers")
    if any(count < 0 for count in counts) or sum(counts) != height * width:
        raise ValueError(
            f"run lengths do not fill {width}x{height} pixels: their sum is {sum(counts)}, "
            f"expected {height * width}" + (", and some are negative" if min(counts, default=0) < 0 else "")
        )
    return np.asarray(counts, dtype=np.int64)


def _decompress(text: bytes) -> list[int]:
    """Decode compressed run lengths: 5 bits per character, low bits first, from the third on as differences."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = character - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("compressed run lengths hold a character that they cannot have")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    if shift:
        raise ValueError("compressed run lengths end in the middle of a number")
    return counts
