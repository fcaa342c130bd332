"""Lists the images that a user names: files, and everything below folders.

What systems leave in folders (`Thumbs.db`, `.DS_Store`) is skipped, and so is what an earlier prediction wrote: masks
below the images must not become images.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from fssbench.errors import UsageError
from fssbench.files.listing import is_system_name, list_folder
from fssbench.prediction.layout import MANIFEST, OWN_FOLDERS

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""Endings of the files that are images if they are found in a folder; a file that is named may have any."""


@dataclass(frozen=True)
class ImageFile:
    """One image that is to be segmented."""

    path: Path
    """Path as the user gave it, or below the folder that the user gave."""
    name: PurePath
    """Relative to the folder that the user named; the file's own name if the file was named."""
    folder: str
    """Name of the folder that the user named, or of the file's folder."""


@dataclass(frozen=True)
class Listing:
    """The images that a user named."""

    files: tuple[ImageFile, ...]
    notes: tuple[str, ...]
    """Sentences about files that were not read."""


def list_images(named: Sequence[Path], out: Path) -> Listing:
    """List all images, each once, in the order in which they are named and by name within a folder.

    Args:
        named: files and folders.
        out: the folder of the output, whose own files are no images.

    Raises:
        UsageError: if something does not exist, or nothing is left.
        DataError: if a folder cannot be listed.
    """
    if missing := [str(path) for path in named if not path.exists()]:
        raise UsageError(f"{', '.join(missing[:5])} does not exist. Next: check the names of the images")
    skipped: Counter[str] = Counter()
    by_place: dict[str, ImageFile] = {}
    for path in named:
        if path.is_dir():
            files = list(_list_folder(path, out.resolve(), skipped))
        elif is_system_name(path.name):  # a shell names all files of a folder by `photos/*`
            files = []
            skipped[path.name] += 1
        else:
            files = [_name_file(path)]
        for file in files:
            by_place.setdefault(os.path.realpath(file.path), file)
    if not by_place:
        listed = ", ".join(map(str, named))
        others = f" (but {_join_counts(skipped)})" if skipped else ""
        raise UsageError(
            f"no image in {listed or 'nothing'}{others}. Endings of images: {', '.join(ENDINGS)}"
        )
    notes = (f"not read, because these are no images: {_join_counts(skipped)}",) if skipped else ()
    return Listing(tuple(by_place.values()), notes)


def _name_file(path: Path) -> ImageFile:
    return ImageFile(path, PurePath(path.name), path.absolute().parent.name)


def _list_folder(root: Path, out: Path, skipped: Counter[str]) -> Iterator[ImageFile]:
    visited: set[str] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        place = os.path.realpath(folder)
        if place in visited:  # a link to a folder above
            continue
        visited.add(place)
        listing = list_folder(folder, ENDINGS)
        skipped.update(PurePath(name).suffix.lower() or name for name in listing.strangers)
        written = Path(place) == out or (folder / MANIFEST).is_file()
        own_folders = OWN_FOLDERS if written else ()
        if written:
            for name in listing.strangers:
                _forget_own_file(name, skipped)
        for name in sorted({*listing.files.values(), *(name for pair in listing.clashes for name in pair)}):
            path = folder / name
            yield ImageFile(path, PurePath(path.relative_to(root)), root.absolute().name)
        waiting += [folder / name for name in reversed(listing.folders) if name not in own_folders]


def _forget_own_file(name: str, skipped: Counter[str]) -> None:
    """Leave out of the notes what a prediction wrote."""
    ending = PurePath(name).suffix.lower() or name
    if ending in {".csv", ".json", ".jsonl", ".html"}:
        skipped[ending] -= 1
        if not skipped[ending]:
            del skipped[ending]


def _join_counts(skipped: Counter[str]) -> str:
    return ", ".join(f"{count} {ending}" for ending, count in sorted(skipped.items()))
