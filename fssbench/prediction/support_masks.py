"""The mask of a labelled example, from the files that people have: 0/1, 0/255, class indices, or COCO JSON.

What is the object must be certain: a mask whose values leave a choice is refused, and `--label` decides.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.errors import DataError
from fssbench.images.judgements import JudgementLevel, is_transparent, judge_file
from fssbench.images.mask_values import IGNORE, THRESHOLD, judge_binary, judge_index
from fssbench.prediction.reading import Orientation, open_user_image, refuse_errors, turn_image

Mask = NDArray[np.uint8]
"""(H, W): 1 is the object, 0 the background, 255 unknown."""
_JPEG = {"JPEG", "MPO"}
_GREY_SPREAD = 32
"""Largest difference between the channels of a pixel that counts as grey."""
_SHOWN = 12
"""Labels that an error names."""
_SAID_BY_EXAMPLES = ("empty", "full")
"""Judgements that `fssbench.prediction.examples` makes for masks of every origin."""


def read_support_mask(path: Path, label: int | None, orientation: Orientation) -> tuple[Mask, list[str]]:
    """Read the mask of an example from an image file.

    Args:
        path: the file: 8-bit grey, palette or 1-bit; RGB if it shows grey alone.
        label: the value of the object; None for a mask of one object, 0/1 or 0/255.
        orientation: as for the image.

    Returns:
        The mask (H, W), and doubts about it in words.

    Raises:
        DataError: if the file is damaged, or its values do not say what the object is.
    """
    image = open_user_image(path)
    refuse_errors(path, judge_file(image, "mask"), orientation)
    image = _drop_equal_channels(turn_image(path, image, orientation))
    if _is_coloured(image):
        raise DataError(
            f"{path} holds colours ({image.mode}), and it is unknown which of them is the object; it may also be the "
            "photograph itself. Next: store the mask as grey PNG in which the object is 255 and all else is 0"
        )
    if label is not None:
        return _read_label(path, image, label), []
    if _has_two_values(image):
        return _read_two_values(path, image), []
    return _read_grey(path, image)


def _drop_equal_channels(image: Image.Image) -> Image.Image:
    """Return grey that is stored as opaque colours as one channel; every other image unchanged."""
    if image.mode not in {"RGB", "RGBA", "LA"} or is_transparent(image):
        return image
    bands = [np.asarray(band) for band in image.convert("RGB").split()]
    if not all(np.array_equal(bands[0], band) for band in bands[1:]):
        return image
    grey = image.getchannel(0)
    grey.format, grey.info = image.format, image.info
    return grey


def _is_coloured(image: Image.Image) -> bool:
    """Return whether opaque RGB pixels have a colour beyond the rounding of a compression."""
    if image.mode not in {"RGB", "RGBA"} or is_transparent(image):
        return False
    red, green, blue = (np.asarray(band) for band in image.convert("RGB").split())
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return bool((spread > _GREY_SPREAD).any())


def _read_label(path: Path, image: Image.Image, label: int) -> Mask:
    """Read the pixels of one label; 255 is unknown, except if it is the label."""
    if image.mode == "1":
        values = np.asarray(image, dtype=np.uint8)
    else:
        judged = judge_index(image, None)
        refuse_errors(path, judged.judgements, "stored")
        assert judged.values is not None  # no values without an error
        values = judged.values
    mask = (values == label).astype(np.uint8)
    if not mask.any():
        raise DataError(f"{path} holds no pixel of the label {label}. {_list_labels(values)}")
    if label != IGNORE:
        mask[values == IGNORE] = IGNORE
    return mask


def _has_two_values(image: Image.Image) -> bool:
    """Return whether a file holds the values 0 and 1 alone, as numbers and not as colours."""
    if image.mode not in {"L", "P"} or set(_list_values(image)) - {0, 1}:
        return False
    return image.mode != "P" or not _is_black_and_white(image)


def _read_two_values(path: Path, image: Image.Image) -> Mask:
    if image.format in _JPEG:
        raise DataError(
            f"{path} is a JPEG that holds only 0 and 1, which its compression has changed. Next: store the mask as PNG"
        )
    return np.asarray(image).astype(np.uint8)


def _is_black_and_white(image: Image.Image) -> bool:
    """Return whether a palette image uses black and white alone, so that its colours count and not its indices."""
    return all(colour in {(0, 0, 0), (255, 255, 255)} for colour in _list_colours(image))


def _read_grey(path: Path, image: Image.Image) -> tuple[Mask, list[str]]:
    """Read a mask of grey values: foreground from 128."""
    if image.mode == "P" and not all(red == green == blue for red, green, blue in _list_colours(image)):
        raise DataError(f"{path} holds class indices. {_list_labels(np.asarray(image))}")
    judged = judge_binary(image, expected=_SAID_BY_EXAMPLES)
    for judgement in judged.judgements:
        if judgement.level == JudgementLevel.ERROR and judgement.kind in {"dark", "labels"}:
            values = np.asarray(image if image.mode in {"L", "P"} else image.convert("L"))
            raise DataError(f"{path}: {judgement.problem}. {_list_labels(values)}")
    refuse_errors(path, judged.judgements, "stored")
    assert judged.values is not None  # no values without an error
    doubts = [str(j) for j in judged.judgements if j.level == JudgementLevel.DOUBT]
    if image.format in _JPEG and not doubts:
        doubts = [
            "the mask is a JPEG, whose compression blurs the edges, so that a threshold decides. Store it as PNG"
        ]
    return (judged.values >= THRESHOLD).astype(np.uint8), doubts


def _list_values(image: Image.Image) -> list[int]:
    """List the values that occur in an image of one channel."""
    return [value for value, count in enumerate(image.histogram()) if count]


def _list_colours(image: Image.Image) -> list[tuple[int, int, int]]:
    """List the colours that a palette image uses."""
    stored = np.array(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3).tolist()
    colours = [stored[value] if value < len(stored) else [0, 0, 0] for value in _list_values(image)]
    return [(red, green, blue) for red, green, blue in colours]


def _list_labels(values: NDArray[np.uint8]) -> str:
    """Compose the advice to name one of the labels that occur."""
    labels = [int(value) for value in np.unique(values) if value]
    shown = ", ".join(map(str, labels[:_SHOWN])) + (", ..." if len(labels) > _SHOWN else "")
    return f"Its labels are {shown or 'none: every pixel is 0'}. Next: --label N says which is the object"
