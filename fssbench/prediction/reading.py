"""Images of a user, read by the rules of `fssbench run`; only the EXIF orientation may be decided by the user.

A benchmark refuses an image with an EXIF orientation, because nobody knows whether its mask was drawn upright.  Here
the user owns the images, and says it with `--orientation`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fssbench.errors import DataError, make_unknown_error
from fssbench.files.hashing import State, hash_file, read_file_state
from fssbench.images.judgements import Judgement, JudgementLevel, judge_file, judge_image, read_orientation
from fssbench.images.opening import VERIFY, open_image
from fssbench.images.reading import resize_image

Orientation = Literal["refuse", "upright", "stored"]
"""Treatment of an image whose EXIF orientation is not 1."""
_TURNS = range(2, 9)
"""EXIF orientations that say how the pixels are turned."""


@dataclass(frozen=True)
class Picture:
    """An image of the user, decoded."""

    image: Image.Image
    """RGB, at its own size."""
    pixels: NDArray[np.uint8]
    """(S, S, 3): as the network sees it."""
    sha256: str
    """Hash of the file."""
    state: State
    """State of the file when it was read."""


def require_orientation(name: str) -> Orientation:
    """Return the name of an orientation rule.

    Raises:
        UsageError: for an unknown one.
    """
    for known in get_args(Orientation):
        if name == known:
            return known
    raise make_unknown_error("orientation", name, get_args(Orientation))


def read_picture(path: Path, size: int, orientation: Orientation) -> Picture:
    """Read an image, and resize a copy for the network.

    Raises:
        DataError: if the file is damaged, changes while it is read, or must not be used.
    """
    try:
        state = read_file_state(path)
        image = read_rgb(path, orientation)
        sha256 = hash_file(path, state)
        if read_file_state(path) != state:
            raise DataError(f"{path} changed while it was read. Next: the same command again")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from None
    return Picture(image, resize_image(image, size), sha256, state)


def read_rgb(path: Path, orientation: Orientation) -> Image.Image:
    """Read an image as RGB at its own size.

    Raises:
        DataError: as `read_picture`.
    """
    image = open_user_image(path)
    refuse_errors(path, [*judge_file(image, "image"), *judge_image(image)], orientation)
    image = turn_image(path, image, orientation)
    return image if image.mode == "RGB" else image.convert("RGB")


def open_user_image(path: Path) -> Image.Image:
    """Decode an image or a mask in its stored mode.

    Raises:
        DataError: as `open_image`, without the advice to verify a data set.
    """
    try:
        return open_image(path)
    except DataError as error:
        raise DataError(str(error).removesuffix(f". {VERIFY}")) from None


def refuse_errors(path: Path, judgements: list[Judgement], orientation: Orientation) -> None:
    """Refuse a file for the first judgement of level error; the user may decide one about the orientation.

    Raises:
        DataError: naming the file, the problem and the remedy.
    """
    for judgement in judgements:
        if judgement.level != JudgementLevel.ERROR:
            continue
        if judgement.kind != "orientation":
            raise DataError(f"{path}: {judgement}")
        if orientation == "refuse":
            raise DataError(
                f"{path}: {judgement.problem}. Next: --orientation upright turns such images and their masks as "
                "viewers show them, --orientation stored leaves the pixels as they lie in the file"
            )


def turn_image(path: Path, image: Image.Image, orientation: Orientation) -> Image.Image:
    """Turn an image upright if that was asked for.

    Raises:
        DataError: if its orientation is none that EXIF knows, or Pillow has turned a TIFF that should stay as stored.
    """
    stored = read_orientation(image)
    if stored == 1 or orientation == "refuse":
        return image
    if stored not in _TURNS:
        raise DataError(
            f"{path} has the EXIF orientation {stored}, which means nothing. Next: delete the tag"
        )
    if image.format == "TIFF":  # the decoder has turned its pixels
        if orientation == "stored":
            raise DataError(
                f"{path} is a TIFF with an orientation, which is always read upright. Next: --orientation upright"
            )
        return image
    return ImageOps.exif_transpose(image) if orientation == "upright" else image
