"""Names in the folder of a prediction.

masks/NAME.png        0 background, 255 object; the size of the image
overlays/NAME.jpg     the image with the object tinted, at most 1,600 pixels
thumbnails/NAME.jpg   the same, small, for the contact sheet
predictions.csv       one row per image
contact-sheet.html    all images to look through; further pages if there are many
prediction.json       method, weights, settings, examples, versions
predictions.jsonl     one line per finished image, from which a second run resumes
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import PurePath

MANIFEST = "prediction.json"
LOG = "predictions.jsonl"
TABLE = "predictions.csv"
SHEET = "contact-sheet"
MASKS, OVERLAYS, THUMBNAILS = OWN_FOLDERS = ("masks", "overlays", "thumbnails")


_LONGEST = 150
"""Bytes of the longest output name; a name that is being written is 60 bytes longer, and file systems allow 255."""


def list_output_files(name: str) -> tuple[str, str, str]:
    """List mask, overlay and thumbnail of an image by its output name, relative to the folder."""
    return f"{MASKS}/{name}.png", f"{OVERLAYS}/{name}.jpg", f"{THUMBNAILS}/{name}.jpg"


def name_page(number: int) -> str:
    """Name a page of the contact sheet, counted from 1."""
    return f"{SHEET}.html" if number == 1 else f"{SHEET}-{number}.html"


class OutputNames:
    """Gives each image an output name that no other image has, on file systems that ignore case too.

    The first image of a name keeps it, so that images that are added later rename nothing.

    Args:
        taken: names that were given before.
    """

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = {name.casefold() for name in taken}

    def give(self, name: PurePath, folder: str) -> str:
        """Give an output name without ending: `a/x` for `a/x.jpg`, or `a/x_jpg` beside an `a/x.png`.

        Args:
            name: the relative name of the image.
            folder: name of the folder it was found in, which tells two images of one relative name apart.
        """
        for candidate in _propose_names(name, folder):
            if candidate.casefold() not in self._taken:
                self._taken.add(candidate.casefold())
                return candidate
        raise AssertionError("numbers do not end")


def _propose_names(name: PurePath, folder: str) -> Iterator[str]:
    plain = _shorten(name.with_suffix(""))
    longer = _shorten(name.with_name(name.name.replace(".", "_")))
    yield plain.as_posix()
    yield longer.as_posix()
    if folder:
        yield (PurePath(folder) / plain).as_posix()
        yield (PurePath(folder) / longer).as_posix()
    number = 2
    while True:
        yield f"{longer.as_posix()}-{number}"
        number += 1


def _shorten(name: PurePath) -> PurePath:
    """Replace the end of a name that is too long by its hash."""
    encoded = os.fsencode(name.name)
    if len(encoded) <= _LONGEST:
        return name
    start = encoded[: _LONGEST - 17].decode("utf-8", "ignore")
    return name.with_name(f"{start}-{hashlib.sha256(encoded).hexdigest()[:16]}")
