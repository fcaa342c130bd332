"""Reads SUIM's files: colour codes, the two layouts, and the classes of each image.

No list names the classes of an image, so every mask must be decoded once.  The result is stored in the user's cache
folder under a key of all names, sizes and times, so it is never outdated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from fssbench.api import THRESHOLD, DataError, find_file, list_files, read_codes, read_grey

from ..shared.scan_memory import recall_scan, scan_path, store_scan

CODES = {"FV": 0b110, "HD": 0b001, "PF": 0b010, "RI": 0b101, "RO": 0b100, "SR": 0b111, "WR": 0b011, "BW": 0}
"""Class folder name -> colour code, red the highest bit.  The order is that of the class ids."""

PARTS = ("", "train_val/", "TEST/")
"""Where images/ and masks/ lie: merged, or in the two parts of the public download."""

MAY_BE = ("empty", "full", "inverted")
"""In the per-class layout an empty mask says that the class is not there, and a class may fill or surround a scene."""
RASTER = (".jpg", ".jpeg", ".png", ".bmp")
_SCAN_VERSION = 3
"""Increased when a rule for refusing masks changes, so that no stored scan hides a refusal."""


@dataclass(frozen=True)
class Source:
    """One image with the masks that tell its classes."""

    item: str
    """The image, relative to the data set's root."""
    coded: str | None
    """Its colour-coded mask, in the raw layout."""
    binary: tuple[tuple[str, str], ...] = ()
    """(class folder, mask) pairs, in the per-class layout."""


def list_class_folders(root: Path) -> list[str]:
    """Return the names of the class folders below `masks/`, in class order: non-empty in the per-class layout."""
    return [name for name in CODES if (root / "masks" / name).is_dir()]


def is_raw(root: Path) -> bool:
    """Return whether colour-coded masks lie below the root; if so, these are read."""
    return any(list_files(root / part / "masks", *RASTER) for part in PARTS)


def find_sources(root: Path) -> list[Source]:
    """Return the images that have a mask, by file name, from either layout.

    Raises:
        DataError: if there is no mask, or a name occurs in both parts of the download.
    """
    sources = list_sources(root)
    if not sources:
        raise DataError(
            f"suim: no mask found in {root}; looked for masks/*.bmp, train_val/masks/*.bmp, TEST/masks/*.bmp "
            f"and masks/{{{','.join(CODES)}}}/*. Next: get it from https://irvlab.cs.umn.edu/resources/suim-dataset"
        )
    for one, two in [*find_name_twins(sources), *find_image_twins(root)]:
        raise DataError(f"suim: {one} and {two} are one name twice; keep one of them in {root}")
    return sources


def list_sources(root: Path) -> list[Source]:
    """List the images that have a mask, by file name; empty if there is none."""
    sources = _list_coded_sources(root) if is_raw(root) else _list_sources_by_class(root)
    return sorted(sources, key=lambda s: (Path(s.item).name, s.item))


def find_name_twins(sources: list[Source]) -> list[tuple[str, str]]:
    """Return pairs of paths with the same image name; train and test may not overlap."""
    return [
        (one.item, two.item) for one, two in pairwise(sources) if Path(one.item).stem == Path(two.item).stem
    ]


def find_image_twins(root: Path) -> list[tuple[str, str]]:
    """Return images of one folder that differ only in the ending; the mask of such a pair is ambiguous."""
    pairs = []
    for part in PARTS:
        names = sorted(list_files(root / part / "images", *RASTER), key=lambda name: (Path(name).stem, name))
        pairs += [
            (f"{part}images/{one}", f"{part}images/{two}")
            for one, two in pairwise(names)
            if Path(one).stem == Path(two).stem
        ]
    return pairs


def _list_coded_sources(root: Path) -> Iterator[Source]:
    for part in PARTS:
        images = _list_by_stem(root / part / "images")
        for mask in list_files(root / part / "masks", *RASTER):
            stem = Path(mask).stem
            yield Source(f"{part}images/{images.get(stem, f'{stem}.jpg')}", f"{part}masks/{mask}")


def _list_sources_by_class(root: Path) -> Iterator[Source]:
    images = _list_by_stem(root / "images")
    masks: dict[str, list[tuple[str, str]]] = {}
    for folder in list_class_folders(root):
        for mask in list_files(root / "masks" / folder, *RASTER):
            masks.setdefault(Path(mask).stem, []).append((folder, f"masks/{folder}/{mask}"))
    for stem, pairs in masks.items():
        yield Source(f"images/{images.get(stem, f'{stem}.jpg')}", None, tuple(pairs))


def _list_by_stem(folder: Path) -> dict[str, str]:
    return {Path(name).stem: name for name in list_files(folder, *RASTER)}


def find_classes(root: Path, source: Source) -> list[str]:
    """Decode the masks of one image and return the names of its classes."""
    if source.coded is not None:
        present = set(np.unique(read_codes(find_file(root / source.coded))).tolist())
        return [name for name, code in CODES.items() if code in present]
    masks = {name: read_grey(find_file(root / mask), expected=MAY_BE) for name, mask in source.binary}
    return [name for name, grey in masks.items() if (grey >= THRESHOLD).any()]


def scan_classes(root: Path, sources: list[Source]) -> dict[str, list[str]]:
    """Return class folder names by item, from the cache if the files are unchanged.

    Raises:
        DataError: if a mask cannot be decoded.
    """
    masks = [
        (source.item, mask, status.st_size, status.st_mtime_ns)
        for source in sources
        for mask in ([source.coded] if source.coded else [name for _, name in source.binary])
        for status in [find_file(root / mask).stat()]
    ]
    memory = scan_path("suim", _SCAN_VERSION, str(root.resolve()), masks)
    stored = recall_scan(memory)
    if stored is not None and set(stored) == {source.item for source in sources}:
        return stored
    answer = {source.item: find_classes(root, source) for source in sources}
    store_scan(memory, answer)
    return answer
