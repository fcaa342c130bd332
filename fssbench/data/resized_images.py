"""Resized copies of images, made by `fssbench data prepare NAME --size N`.

A copy is the network's input of one image before normalisation, bit for bit: PNG is lossless, and the sha256 of the
pixels is compared at each reading.  The name of a copy is a hash of all it depends on: the bytes of the item's
files, the source and the libraries of the reader, the modules of fssbench that read and judge images, the size, and
the versions of Pillow, which resizes, and of its decoders.  Its checksum covers name, facts and pixels, so a copy
under the name of another one is damaged.  So a run never reads a stale copy, and with copies or without them it
counts the same pixels.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, features

from fssbench.contracts.datasets import Dataset
from fssbench.data.data_files import DataFiles
from fssbench.data.reader import ImageFacts
from fssbench.files.atomic import replace_file
from fssbench.files.cache import cache_folder
from fssbench.files.in_use import hold_folder
from fssbench.plugins.calls import is_built_in
from fssbench.plugins.execution import hash_core_files
from fssbench.plugins.source_hash import collect_source

FOLDER = "resized"
"""Folder of the copies in the cache."""
_FORMAT = 2
_RULES = ("images/*.py", "data/reader.py")
"""Modules of fssbench by which a file becomes pixels and doubts."""
_TEXT = "fssbench"
_COMPRESSION = 1
"""Level of zlib: pictures hardly shrink at higher ones."""


class ResizedImages:
    """The copies of one data set in one folder, by item and size.

    Args:
        dataset: the data set.
        files: its files as they were hashed; without them there are no copies.
    """

    def __init__(self, dataset: Dataset, files: DataFiles | None) -> None:
        self._dataset = dataset
        self._files = files
        root = os.path.realpath(dataset.root or "")
        place = hashlib.sha256(root.encode(errors="surrogateescape")).hexdigest()[:12]
        self.folder = cache_folder() / FOLDER / f"{dataset.card.name.replace('/', '_')}-{place}"
        self._exists = files is not None and self.folder.is_dir()
        if self._exists:
            hold_folder(cache_folder() / FOLDER)
        self._rules: tuple[object, ...] | None = None

    def find_path(self, item: str, size: int) -> Path | None:
        """Return the path of the copy of an item, which need not exist; None if the item has no files."""
        content = self._files.content(item) if self._files is not None else ""
        if not content:
            return None
        if self._rules is None:
            self._rules = _list_rules(self._dataset)
        # the readers of fssbench give one image in all variants
        variant = None if is_built_in(self._dataset) else self._dataset.variant
        facts = (_FORMAT, variant, *self._rules, item, content, size)
        name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        return self.folder / str(size) / f"{name}.png"

    def load(self, item: str, size: int) -> tuple[NDArray[np.uint8], ImageFacts] | None:
        """Read the copy of an item, (size, size, 3), and the facts about its image; None if there is no sound one.

        Raises:
            DataError: if the image's file has changed since it was hashed.
        """
        if not self._exists or (path := self.find_path(item, size)) is None:
            return None
        copy = _read(path, size)
        if copy is not None and self._files is not None:
            self._files.check(item)
        return copy

    def save(self, item: str, size: int, pixels: NDArray[np.uint8], facts: ImageFacts) -> Path | None:
        """Write the copy of an item; return its path, or None if the item has no files.

        Raises:
            OSError: if it cannot be written.
        """
        path = self.find_path(item, size)
        if path is None:
            return None
        notes = PngImagePlugin.PngInfo()
        known = facts.as_notes()
        notes.add_text(_TEXT, json.dumps({**known, "sha256": _hash(path, pixels, known)}))
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG", pnginfo=notes, compress_level=_COMPRESSION)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content.getvalue(), durable=False)
        self._exists = True
        return path


def _read(path: Path, size: int) -> tuple[NDArray[np.uint8], ImageFacts] | None:
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.size != (size, size) or image.mode != "RGB":
                return None
            pixels = np.array(image, dtype=np.uint8)
            text = image.info.get(_TEXT)
        notes = json.loads(text or "")
        facts = ImageFacts.parse(notes)
        return (pixels, facts) if notes["sha256"] == _hash(path, pixels, facts.as_notes()) else None
    except (OSError, ValueError, KeyError, TypeError, SyntaxError, AttributeError, RecursionError):
        return None  # absent or damaged: the image itself is read


def _hash(path: Path, pixels: NDArray[np.uint8], facts: Mapping[str, str]) -> str:
    """Hash a copy together with its name, so that one image's copy never passes for that of another."""
    head = json.dumps([path.stem, pixels.shape, dict(facts)], sort_keys=True)
    return hashlib.sha256(head.encode() + pixels.tobytes()).hexdigest()


def _list_rules(dataset: Dataset) -> tuple[object, ...]:
    """List what decides, beside the file and the size, which pixels and doubts the reading of an image gives."""
    source = collect_source(type(dataset), base=Dataset)
    decoders = [f"{name} {features.version(name)}" for name in ("jpg", "zlib", "libtiff", "webp")]
    return source.sha256, source.distributions, hash_core_files(_RULES), PIL.__version__, decoders
