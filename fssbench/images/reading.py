"""Functions that read images and masks and resize them for the network.  Data set plugins use them too.

Every rule here changes figures, so each is one small function that states its reason.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.images.judgements import act_on_judgements, admit_released, judge_file, judge_image
from fssbench.images.mask_values import judge_binary, judge_coded, judge_index
from fssbench.images.opening import open_image as open_image

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet statistics, on values in [0, 1]."""


def read_rgb(path: Path) -> Image.Image:
    """Read an image as stored, as RGB: grey, palette, CMYK and opaque alpha are converted.

    Nothing is rotated: the reference loaders ignore EXIF orientation, and no file says whether a mask was drawn on
    stored or on upright pixels.

    Raises:
        DataError: if the file is damaged, has more than 8 bits per channel, pixels that are not opaque, an EXIF
            orientation other than 1, several frames, or a mode that is not read.
    """
    image = open_image(path)
    act_on_judgements(path, [*judge_file(image, "image"), *judge_image(image)])
    return image if image.mode == "RGB" else image.convert("RGB")


def read_index(
    path: Path,
    labels: Collection[int] | None = None,
    *,
    ignore: bool = True,
    palette: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Read a label PNG as indices (H, W), palette or grey, never through grey conversion.

    Args:
        path: the file.
        labels: values that are classes; 0 is background.  Give them, so that unknown values are refused.
        ignore: whether 255 may occur.
        palette: colours (256, 3) that the values should have, if the data set prescribes them.

    Raises:
        DataError: for damaged, RGB, alpha, 1-bit, 16-bit and JPEG files, unknown labels and renumbered palettes.
    """
    image = open_image(path)
    judged = judge_index(image, labels, ignore=ignore, palette=palette)
    act_on_judgements(path, [*judge_file(image, "mask"), *judged.judgements])
    assert judged.values is not None  # no values without an error
    return judged.values


def read_grey(
    path: Path, *, threshold: int = 128, expected: Collection[str] = (), released: Collection[str] = ()
) -> NDArray[np.uint8]:
    """Read a foreground mask as stored grey values (H, W), 0..255; soft edges are kept.

    Args:
        path: the file.
        threshold: grey value from which a pixel is foreground.
        expected: kinds of judgement that are not reported, such as `empty` if a mask without foreground means that
            the class is not in the image, or `full` if the class may fill an image (`fssbench.images.mask_values`).
        released: kinds of error with which the data set was released and which its reference code reads; they become
            doubts.

    Raises:
        DataError: if the file is damaged or is no foreground mask, for example because it holds 0 and 1.
    """
    image = open_image(path)
    judged = judge_binary(image, threshold=threshold, expected=expected)
    judgements = [*judge_file(image, "mask"), *judged.judgements]
    act_on_judgements(path, admit_released(judgements, released, "the reference code reads it"))
    assert judged.values is not None  # no values without an error
    return judged.values


def read_binary(
    path: Path, threshold: int = 128, *, expected: Collection[str] = (), released: Collection[str] = ()
) -> NDArray[np.uint8]:
    """Read a foreground mask as 0/1 (H, W): grey value >= threshold, as the reference loaders do.

    Raises:
        DataError: see `read_grey`.
    """
    grey = read_grey(path, threshold=threshold, expected=expected, released=released)
    return (grey >= threshold).astype(np.uint8)


def read_codes(path: Path) -> NDArray[np.uint8]:
    """Read a mask of class colours as codes 0..7 (H, W): each channel thresholded, red the highest bit.

    Raises:
        DataError: if the file is damaged, or its colours are no codes, for example because it holds 0 and 1.
    """
    image = open_image(path)
    judged = judge_coded(image)
    act_on_judgements(path, [*judge_file(image, "mask"), *judged.judgements])
    assert judged.values is not None  # no values without an error
    return judged.values


def to_input(image: Image.Image, size: int) -> Tensor:
    """Return the normalised network input (3, size, size): bilinear with antialiasing, aspect ratio not kept."""
    return normalise(resize_image(image, size))


def resize_image(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Resize an RGB image to uint8 (size, size, 3): bilinear with antialiasing, aspect ratio not kept."""
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.array(image, dtype=np.uint8)


def scale_pixels(pixels: NDArray[np.uint8] | Tensor) -> Tensor:
    """Return an RGB image (H, W, 3) as values from 0 to 1 (3, H, W), on the device of the image."""
    values = _to_tensor(pixels).permute(2, 0, 1)
    return values.float().div_(_make_constants(values.device)[0])


def normalise(pixels: NDArray[np.uint8] | Tensor) -> Tensor:
    """Return an RGB image (H, W, 3) as normalised network input (3, H, W), on the device of the image."""
    scaled = scale_pixels(pixels)
    _, mean, deviation = _make_constants(scaled.device)
    return scaled.sub_(mean).div_(deviation)


def _to_tensor(pixels: NDArray[np.uint8] | Tensor) -> Tensor:
    import torch  # most verbs read pictures, if any, for people alone

    return torch.from_numpy(pixels) if isinstance(pixels, np.ndarray) else pixels


@cache
def _make_constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Make the largest pixel value, the means and the standard deviations.

    They are tensors, because a GPU multiplies by the reciprocal of a number, which rounds otherwise than a processor.
    Made in inference mode, as by the first call, they could not be used outside of it.
    """
    import torch

    with torch.inference_mode(mode=False):
        largest, mean, deviation = (
            torch.tensor(each, device=device, dtype=torch.float32).view(-1, 1, 1)
            for each in ([255.0], MEAN, STD)
        )
    return largest, mean, deviation


def resize_mask(mask: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize a mask by floor of the scaled index, as `interpolate(mode="nearest")` does; no new values appear."""
    if mask.shape == (height, width):
        return mask
    # torch computes the scale and the source index in float32; the same is necessary here for equal pixels
    rows = np.floor(np.arange(height, dtype=np.float32) * np.float32(mask.shape[0] / height)).astype(np.int64)
    columns = np.floor(np.arange(width, dtype=np.float32) * np.float32(mask.shape[1] / width)).astype(
        np.int64
    )
    # whole rows first: six times as fast as both indices at once
    resized: NDArray[np.uint8] = mask.take(rows, axis=0, mode="clip").take(columns, axis=1, mode="clip")
    return resized
