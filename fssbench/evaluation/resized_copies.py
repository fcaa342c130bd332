"""`fssbench data prepare NAME --size N`: make the resized copies of all images that benchmarks test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fssbench.benchmarks.catalogue import find_benchmarks_on
from fssbench.data.data_files import DataFiles
from fssbench.data.location import open_dataset
from fssbench.data.reader import Reader
from fssbench.data.resized_images import ResizedImages
from fssbench.episodes.sampling import list_pool
from fssbench.errors import DataError, FssbenchError
from fssbench.images.reading import resize_image
from fssbench.plugins.registry import DATASETS

Progress = Callable[[int, int], None]
"""Receives the number of finished images and the number of all images."""


@dataclass(frozen=True, slots=True)
class Copies:
    """Result of `make_copies`."""

    folder: Path
    written: int
    there_already: int
    removed: int
    """Stale copies: the file or the reader of their image has changed since."""
    bytes: int
    """Size of all copies of this size."""


def make_copies(
    name: str, size: int, *, data: str | None, splits: str | None = None, progress: Progress | None = None
) -> Copies:
    """Make a resized copy of each image that a benchmark tests; remove stale ones.

    Args:
        name: id of a data set; the images of all its variants get copies.
        size: side in pixels.
        data: the data folder, as for `find_data_folder`.
        splits: folder of reference lists, or None.
        progress: receives the state after each image.

    Raises:
        DataError: if no split can be listed, an image is damaged, or a copy cannot be written or read back.
    """
    items, problems = _list_items(name, data, splits)
    if not items:
        raise DataError(f"no image of {name} can be listed: {'; '.join(problems)}")
    dataset = open_dataset(name, data=data, splits=splits)
    files = DataFiles(dataset, items, f"copies of {name}")
    images, reader = ResizedImages(dataset, files), Reader(dataset, files=files)
    wanted: set[Path] = set()
    written = 0
    try:
        for number, item in enumerate(items, 1):
            if images.load(item, size) is None:
                pixels = resize_image(reader.image(item), size)
                images.save(item, size, pixels, reader.recall(item))
                written += 1
                copy = images.load(item, size)
                if copy is None or not np.array_equal(copy[0], pixels):
                    raise DataError(
                        f"the copy of {item} cannot be read back as it was written. Next: check the disk of "
                        f"{images.folder}"
                    )
            if (path := images.find_path(item, size)) is not None:
                wanted.add(path)
            if progress is not None:
                progress(number, len(items))
        here = list((images.folder / str(size)).glob("*.png"))
        stale = [path for path in here if path not in wanted]
        for path in stale:
            path.unlink(missing_ok=True)
        total = sum(path.stat().st_size for path in here if path in wanted)
    except OSError as error:
        raise DataError(
            f"copies cannot be written to {images.folder} ({error.strerror or error}). Next: free disk space or set "
            "FSSBENCH_CACHE, then run the same command again, which goes on from here"
        ) from None
    return Copies(images.folder / str(size), written, len(items) - written, len(stale), total)


def _list_items(name: str, data: str | None, splits: str | None) -> tuple[list[str], list[str]]:
    """List the tested items of all variants, and the error of each split that cannot be listed."""
    items: dict[str, None] = {}
    problems = []
    for variant in DATASETS.get(name).card.variants or (None,):
        dataset = open_dataset(name, data=data, splits=splits, variant=variant)
        for split in sorted({resolved.benchmark.split for resolved in find_benchmarks_on(name, variant)}):
            try:
                items.update((entry.item, None) for entry in list_pool(dataset, split).entries)
            except FssbenchError as error:
                problems.append(str(error))
    return list(items), problems
