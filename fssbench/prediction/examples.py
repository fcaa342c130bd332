"""The labelled examples: images with the mask of the object, checked before anything is predicted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.errors import DataError, UsageError
from fssbench.images.judgements import judge_pair
from fssbench.images.reading import resize_mask
from fssbench.plural import describe_count
from fssbench.prediction.coco_support import read_coco_mask
from fssbench.prediction.differences import Look
from fssbench.prediction.reading import Orientation, read_picture
from fssbench.prediction.support_masks import Mask, read_support_mask

_FEW = 16
"""Pixels of an object at network size below which the user is warned."""


@dataclass(frozen=True)
class Example:
    """A labelled example, at its own size and as the network sees it."""

    name: str
    """Name of the image file."""
    image: Image.Image
    """RGB, at its own size."""
    mask: Mask
    """(H, W): 1 is the object, 0 the background, 255 unknown, which counts as background."""
    pixels: NDArray[np.uint8]
    """(S, S, 3)"""
    small_mask: NDArray[np.bool_]
    """(S, S): the object."""
    sha256: str
    """Hash of the image file."""
    mask_sha256: str
    """Hash of the values of the mask."""
    doubts: tuple[str, ...] = ()
    """Sentences about what the user should check."""

    @property
    def look(self) -> Look:
        """Size and intensities of the image."""
        return Look.of(self.image.size, self.pixels)


@dataclass(frozen=True)
class ExampleRules:
    """How examples are read."""

    size: int
    """Side of the network input, pixels."""
    label: int | None = None
    """Value of the object in masks of class indices."""
    category: str | None = None
    """Name or id of the object in COCO JSON."""
    orientation: Orientation = "refuse"


def read_examples(supports: Sequence[tuple[Path, Path]], rules: ExampleRules) -> tuple[Example, ...]:
    """Read the labelled examples.

    Raises:
        UsageError: if there is none, or one is given twice.
        DataError: if one cannot be used: the user must correct it, since every answer depends on it.
    """
    if not supports:
        raise UsageError("no labelled example is given. Next: --support IMAGE MASK")
    examples = tuple(_read_example(image, mask, rules) for image, mask in supports)
    contents = [(example.sha256, example.mask_sha256) for example in examples]
    for number, content in enumerate(contents):
        if content in contents[:number]:
            raise UsageError(
                f"example {supports[number][0]} is given twice: it would count twice. Next: give it once"
            )
    return examples


def _read_example(image: Path, mask: Path, rules: ExampleRules) -> Example:
    picture = read_picture(image, rules.size, rules.orientation)
    doubts: list[str] = []
    size = picture.image.size
    if mask.suffix.lower() == ".json":
        values = read_coco_mask(mask, image.name, rules.category, size)
    elif rules.category is not None:
        raise UsageError(
            f"--category names an object of COCO JSON, but the mask {mask} is no .json. Next: --label N"
        )
    else:
        values, doubts = read_support_mask(mask, rules.label, rules.orientation)
    for judgement in judge_pair(size, (values.shape[1], values.shape[0])):
        raise DataError(f"{mask}: {judgement}")
    small = resize_mask(values, rules.size, rules.size) == 1
    doubts += _judge_object(mask, values, small)
    return Example(
        name=image.name,
        image=picture.image,
        mask=values,
        pixels=picture.pixels,
        small_mask=small,
        sha256=picture.sha256,
        mask_sha256=_hash_mask(values),
        doubts=tuple(f"{mask}: {doubt}" for doubt in doubts),
    )


def _judge_object(path: Path, mask: Mask, small: NDArray[np.bool_]) -> list[str]:
    """Judge how much of an example is the object; return doubts in words.

    An empty mask is refused, because a method would then segment nothing or anything, and the cause is nearly always a
    wrong file or label.  A full mask is allowed with a warning: the example may be cut out of the object.

    Raises:
        DataError: if nothing of the object is left.
    """
    size = f"{len(small)} px"
    if not (mask == 1).any():
        raise DataError(
            f"{path}: the mask is empty, so it labels no object. Next: check the file, or give --label N if it holds "
            "class indices"
        )
    if not small.any():
        raise DataError(
            f"{path}: the object of {int((mask == 1).sum()):,} pixels is too small: the network sees images at {size}, "
            "where no pixel shows it. Next: cut out the surroundings of the object, or give a larger --size"
        )
    if (mask == 1).all():
        return ["every pixel is the object, so the example shows no background. Is the mask inverted?"]
    edges = (small[0], small[-1], small[:, 0], small[:, -1])
    doubts = []
    if all(edge.all() for edge in edges):
        doubts.append("the object covers all four edges. Is the mask inverted?")
    if small.sum() < _FEW:
        doubts.append(
            f"the object has only {describe_count(int(small.sum()), 'pixel')} at {size}, at which the network "
            "sees images. A cut-out or a larger --size would show more of it"
        )
    return doubts


def _hash_mask(mask: Mask) -> str:
    return hashlib.sha256(repr(mask.shape).encode() + mask.tobytes()).hexdigest()
