"""Rules for files of images and masks: which are refused, which are doubtful, and which are as published.

The functions `judge_*` look at one decoded file, or at a pair, and return judgements.  `fssbench data verify` reports
them, and the readers behind `run`, `train` and `check` act on them (`act_on_judgements`), so the two cannot disagree:

    error   `verify` calls the data set unusable; a reader raises a DataError.
    doubt   `verify` warns; an episode that uses the file is marked (`gather_doubts`, `DOUBTS`).
    note    `verify` warns; nothing is marked, because the file was released so and reference code reads it the same.

Rules for the values of masks are in `fssbench.images.mask_values`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from fssbench.errors import DataError
from fssbench.images.opening import DEPTH, ORIENTATION, ORIENTATION_TAG, ignored_warnings

DOUBTS = {
    "full": "every pixel is foreground",
    "inverted": "foreground along all edges, background only inside",
    "vanished": "an object too small for the size of the network, so that no pixel shows it",
    "soft": "soft edges, a threshold decides",
    "photograph": "a picture in place of the mask, as released, thresholded",
    "resized": "mask of another size than its image, as released, resized",
}
"""Words of each kind of doubt, as marks print them.  The kinds are stored with episodes; do not rename them."""
AS_PUBLISHED = frozenset({"photograph", "resized", "vanished"})
"""Kinds that published figures contain as well, because of the released files or the published size; reference code
counts such episodes as fssbench does."""

_BITS_PER_SAMPLE = 258
_DEEP = {"I": "32-bit integer", "F": "32-bit float"}
_READABLE = ("1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr")
"""Modes that Pillow converts to RGB without clipping."""

Kind = Literal["image", "mask"]


class JudgementLevel(StrEnum):
    """Consequence of a judgement."""

    ERROR = "error"
    """`verify` calls the data set unusable; a reader refuses the file."""
    DOUBT = "doubt"
    """`verify` warns; an episode that uses the file is marked."""
    NOTE = "note"
    """`verify` warns; nothing is marked."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A statement of one rule about a file."""

    level: JudgementLevel
    kind: str
    """Name of the rule; for a doubt, a key of `DOUBTS`."""
    problem: str
    remedy: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", JudgementLevel(self.level))  # a text of no level is refused

    def __str__(self) -> str:
        return f"{self.problem}. {self.remedy[:1].upper()}{self.remedy[1:]}"


def read_stored_depth(image: Image.Image) -> int | None:
    """Return the bits per channel of a decoded file; None if its format says no more than the mode."""
    if image.format == "TIFF":
        stored = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, 8)
        return max(stored) if isinstance(stored, tuple) else int(stored)
    depth = image.info.get(DEPTH)
    return depth if isinstance(depth, int) else None


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image: 1 (upright) if it has none, 0 if the tag holds no number."""
    with ignored_warnings(Warning):  # of damaged EXIF, in which no orientation can be read
        stored: Any = image.info.get(ORIENTATION, image.getexif().get(ORIENTATION_TAG, 1))
    try:
        return int(stored)
    except (TypeError, ValueError, ArithmeticError):
        return 0


def is_transparent(image: Image.Image) -> bool:
    """Return whether any pixel of an image is not opaque."""
    if not image.has_transparency_data:
        return False
    alpha = image if image.mode in {"RGBA", "LA"} else image.convert("RGBA")
    lowest = alpha.getchannel("A").getextrema()[0]
    return bool(lowest < 255)  # type: ignore[operator]  # of one band it is a number


def judge_file(image: Image.Image, kind: Kind) -> list[Judgement]:
    """Judge what images and masks have in common: orientation and bit depth."""
    judgements = []
    if (orientation := read_orientation(image)) != 1:
        judgements.append(judge_orientation(orientation, kind))
    deep = _DEEP.get(image.mode)
    if deep is None and (image.mode.startswith("I;16") or (read_stored_depth(image) or 8) > 8):
        deep = f"{max(read_stored_depth(image) or 16, 16)}-bit"
    if deep is not None:
        problem = f"the {kind} holds {deep} values (mode {image.mode}), but 8 bits per channel are allowed"
        remedy = (
            "store it with 8 bits: grey 0 and 255, or class indices"
            if kind == "mask"
            else "scale it to 8 bits by a rule that you state, for example value / 256 for 16 bits or value / 16 "
            "for 12 bits, and store it as 8-bit grey or RGB"
        )
        judgements.append(Judgement(JudgementLevel.ERROR, "depth", problem, remedy))
    return judgements


def judge_orientation(orientation: int, kind: Kind) -> Judgement:
    """Judge an EXIF orientation other than 1: whether the mask was drawn on turned pixels is not known."""
    return Judgement(
        JudgementLevel.ERROR,
        "orientation",
        f"the {kind} has EXIF orientation {orientation}, not 1, so it is unknown whether image and mask were drawn "
        "upright or as stored",
        "write the pixels upright and delete the tag, for image and mask (the reference loaders ignore the tag)",
    )


def judge_image(image: Image.Image) -> list[Judgement]:
    """Judge the mode and the alpha channel of an image that is read as RGB."""
    if image.mode not in _READABLE:
        if image.mode in _DEEP or image.mode.startswith("I;16"):
            return []  # `judge_file` names the depth
        problem = f"the image has mode {image.mode}, which fssbench does not read"
        remedy = f"store it as 8-bit RGB or grey; allowed modes are {', '.join(_READABLE)}"
        return [Judgement(JudgementLevel.ERROR, "mode", problem, remedy)]
    if is_transparent(image):
        problem = f"the image has transparent pixels (mode {image.mode}), whose visible colour is unknown"
        remedy = "draw it on a background and store it without alpha; an opaque alpha channel is allowed"
        return [Judgement(JudgementLevel.ERROR, "alpha", problem, remedy)]
    return []


def judge_pair(
    image: tuple[int, int], mask: tuple[int, int], *, as_released: bool = False
) -> list[Judgement]:
    """Judge the size of a mask against that of its image, each width and height.

    Args:
        image: size as stored.
        mask: size as stored.
        as_released: whether this pair was released so, and the reference code resizes the mask.  A transposed mask is
            an error even then, because no release is known to have one.
    """
    if image == mask:
        return []
    problem = f"the mask is {mask[0]}x{mask[1]}, but the image is {image[0]}x{image[1]}"
    if mask == image[::-1]:
        remedy = "swap the axes of the mask, or get the pair again"
        return [Judgement(JudgementLevel.ERROR, "size", f"{problem}: the mask is transposed", remedy)]
    if as_released:
        remedy = "if the file is as released, do nothing: reference code resizes it, and episodes with it are marked"
        return [Judgement(JudgementLevel.DOUBT, "resized", f"as released: {problem}", remedy)]
    remedy = "get image and mask from one source; fssbench never resizes a mask silently"
    return [Judgement(JudgementLevel.ERROR, "size", problem, remedy)]


def admit_released(judgements: Iterable[Judgement], kinds: Collection[str], remedy: str) -> list[Judgement]:
    """Turn errors of some kinds into doubts, for a data set that was released with them."""
    return [
        replace(j, level=JudgementLevel.DOUBT, problem=f"as released: {j.problem}", remedy=remedy)
        if j.level == JudgementLevel.ERROR and j.kind in kinds
        else j
        for j in judgements
    ]


def act_on_judgements(path: Path, judgements: Iterable[Judgement]) -> None:
    """Act on the judgements of a file that is being read: refuse errors, note doubts.

    Raises:
        DataError: for the first error; it names the file, the value, what is allowed and the next command.
    """
    for judgement in judgements:
        if judgement.level == JudgementLevel.ERROR:
            raise DataError(f"{path}: {judgement}. Next: `fssbench data verify`")
        if judgement.level == JudgementLevel.DOUBT:
            note_doubt(judgement.kind)


_noted: ContextVar[set[str] | None] = ContextVar("noted", default=None)


@contextmanager
def gather_doubts() -> Iterator[set[str]]:
    """Collect the kinds of doubt that readers note within this context."""
    kinds: set[str] = set()
    token = _noted.set(kinds)
    try:
        yield kinds
    finally:
        _noted.reset(token)


def note_doubt(kind: str) -> None:
    """Note that the file being read is doubtful, so that the episode that uses it is marked.

    A reader that caches what it has read must note the doubt again each time it returns it.

    Args:
        kind: a key of `DOUBTS`.

    Raises:
        ValueError: for another kind.
    """
    if kind not in DOUBTS:
        raise ValueError(f"unknown kind of doubt {kind!r}. Known: {', '.join(DOUBTS)}")
    kinds = _noted.get()
    if kinds is not None:
        kinds.add(kind)
