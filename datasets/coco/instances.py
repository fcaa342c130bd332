"""COCO's `instances_*.json`, checked record by record before anything is drawn."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fssbench.api import DataError, check_segmentation, has_region

from ..shared.placing import refuse_problems

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
