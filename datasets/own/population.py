"""What a described folder holds: the classes that each image shows, and hashes of images and masks.

Reading every file takes minutes for a large folder, so the answer is kept in the cache folder under a hash of all
names, sizes and times of change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fssbench.api import (
    DataError,
    act_on_judgements,
    check_links,
    find_file,
    hash_present_file,
    open_image,
    read_file_state,
)

from ..shared.scan_memory import recall_scan, scan_path, store_scan
from .annotations import draw_category, load_annotations
from .description import Description, Split
from .items import Item
from .masks import list_present, read_labels

SCAN_VERSION = 1
"""It is increased if a rule for reading or refusing masks changes, so that no stored scan hides it."""
_ANY = {"split", "leave_out", "parts"}
"""Rules on which the scan of a file does not depend."""


@dataclass(frozen=True)
class Holding:
    """What one item holds."""

    image: str
    """sha256 of the image file."""
    truth: str
    """sha256 of the mask file, or of the regions as drawn."""
    classes: tuple[int, ...]
    """Ids of all classes of which it has a pixel, also of those that are left out."""


def scan_items(root: Path, description: Description, items: Mapping[str, Item]) -> dict[str, Holding]:
    """Read every item once.

    Raises:
        DataError: for the first file that cannot be read or must not be used.
    """
    rules = {k: v for k, v in description.reading_rules().items() if k not in _ANY}
    # with the time of the last change, which no copy sets back as it does the time of writing
    states = [
        [name, item.part.class_id, *(list(_read_state(find_file(root / file))[:3]) for file in item.files)]
        for name, item in items.items()
    ]
    memory = scan_path("own", SCAN_VERSION, str(root.resolve()), rules, states)
    stored = recall_scan(memory)
    if stored is not None and stored.keys() == items.keys():
        return {name: Holding(row[0], row[1], tuple(row[2:])) for name, row in stored.items()}
    holdings = {name: _scan_item(root, description, item) for name, item in items.items()}
    store_scan(memory, {name: [each.image, each.truth, *each.classes] for name, each in holdings.items()})
    return holdings


def _read_state(path: Path) -> tuple[int, ...]:
    try:
        return read_file_state(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None


def _scan_item(root: Path, description: Description, item: Item) -> Holding:
    image = find_file(root / item.image)
    check_links(image, (root,))
    try:
        image_hash = hash_present_file(image)
        if item.mask is None:
            truth, classes = _scan_regions(root, description, item)
        else:
            path = find_file(root / item.mask)
            check_links(path, (root,))
            labels = read_labels(open_image(path), description, item.part.class_id, find_segments(root, item))
            act_on_judgements(path, labels.judgements)
            assert labels.values is not None  # no values without an error
            truth, classes = hash_present_file(path), list_present(labels.values)
    except OSError as error:
        raise DataError(f"{image} or its mask cannot be read ({error.strerror})") from None
    return Holding(image_hash, truth, tuple(classes))


def find_segments(root: Path, item: Item) -> Mapping[int, int] | None:
    """Return the category of each segment of a panoptic mask; None for other masks."""
    if item.record is None or item.mask is None:
        return None
    return load_annotations(root / item.truth, panoptic=True).images[item.record].segments


def _scan_regions(root: Path, description: Description, item: Item) -> tuple[str, list[int]]:
    """Draw the regions of an image class by class.  A class with an annotation without a region is left out."""
    assert item.record is not None
    record = load_annotations(root / item.truth, panoptic=False).images[item.record]
    ids = {each.category: each.id for each in description.classes}
    digest = hashlib.sha256(f"{record.height} {record.width}".encode())
    classes = []
    for category in sorted(record.regions):
        drawn = draw_category(record, category)
        digest.update(f"{category}".encode() + np.packbits(drawn).tobytes())
        if category in ids and drawn.any():
            classes.append(ids[category])
    return digest.hexdigest(), sorted(classes)


def hash_files_held(holdings: Mapping[str, Holding]) -> str:
    """Return the hash of all images and masks with their names, which `dataset.toml` states."""
    lines = (f"{name}\0{each.image}\0{each.truth}\n" for name, each in sorted(holdings.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def hash_population(
    description: Description, holdings: Mapping[str, Holding], uses: Mapping[str, Split]
) -> str:
    """Return the hash over everything that can change an episode or a mask: rules, files, classes, splits."""
    rows: list[Any] = [description.reading_rules()]
    rows += [
        [name, each.image, each.truth, list(each.classes), uses.get(name)]
        for name, each in sorted(holdings.items())
    ]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def read_size_of_record(root: Path, item: Item) -> tuple[int, int]:
    """Return width and height that the annotations give for an image."""
    assert item.record is not None
    record = load_annotations(root / item.truth, panoptic=item.mask is not None).images[item.record]
    return record.width, record.height


def make_size_image(size: tuple[int, int]) -> Image.Image:
    """Make an empty picture of a size, to be compared with an image by the rule for masks."""
    return Image.new("L", size)
