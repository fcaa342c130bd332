"""Reading images and masks, and bringing them to the network's size.  For data set plugins too.

Every rule here moves numbers, so each is one small function with its reason beside it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from fssbench.errors import DataError
from fssbench.image_files import open_image as open_image

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet statistics, on values in [0, 1]."""


def read_rgb(path: Path) -> Image.Image:
    """An image as upright RGB: EXIF rotation applied; grey, CMYK, palette and alpha converted."""
    image = ImageOps.exif_transpose(open_image(path))
    return image if image.mode == "RGB" else image.convert("RGB")


def read_index(path: Path) -> NDArray[np.uint8]:
    """A label PNG as indices (H, W), palette or grey, never through grey conversion.

    Raises:
        DataError: for RGB, alpha, 1-bit or 16-bit files, which hold no indices.
    """
    image = open_image(path)
    if image.mode not in {"P", "L"}:
        raise DataError(
            f"{path} has mode {image.mode}; a label file must be 8-bit palette (P) or grey (L) "
            "with class indices as values"
        )
    return np.asarray(image, dtype=np.uint8)


def read_binary(path: Path, threshold: int = 128) -> NDArray[np.uint8]:
    """A foreground mask as 0/1 (H, W): grey value >= threshold, as the reference loaders do.

    Raises:
        DataError: for files of more than 8 bits, whose conversion to grey would clip at 255.
    """
    image = open_image(path)
    if image.mode[0] in {"I", "F"}:
        raise DataError(f"{path} has mode {image.mode} (16 or 32 bits); a mask file must have 8 bits")
    if image.mode == "P":
        image = image.convert("RGB")
    grey = image if image.mode == "L" else image.convert("L")
    return (np.asarray(grey) >= threshold).astype(np.uint8)


def to_input(image: Image.Image, size: int) -> Tensor:
    """Normalised network input (3, size, size): squashed bilinearly with antialiasing, aspect not kept."""
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1)
    scaled = pixels.to(torch.float32).div_(255)
    return scaled.sub_(torch.tensor(MEAN).view(3, 1, 1)).div_(torch.tensor(STD).view(3, 1, 1))


def resize_mask(mask: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Nearest resize by floor of the scaled index, as `interpolate(mode="nearest")`: makes no new labels."""
    if mask.shape == (height, width):
        return mask
    # torch computes the scale and the source index in float32; so must we, to agree to the pixel
    rows = np.floor(np.arange(height, dtype=np.float32) * np.float32(mask.shape[0] / height)).astype(np.int64)
    columns = np.floor(np.arange(width, dtype=np.float32) * np.float32(mask.shape[1] / width)).astype(
        np.int64
    )
    resized: NDArray[np.uint8] = mask[
        np.minimum(rows, mask.shape[0] - 1)[:, None], np.minimum(columns, mask.shape[1] - 1)[None, :]
    ]
    return resized
