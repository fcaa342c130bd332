"""Draws small data sets in the published layouts, and files that most libraries cannot write; for the fixture `drawn`.

Each function draws sound files below `data` and returns the folders of images and masks.  A test may then change the
files.  Every image is a bright box on noise; its mask has the box as foreground.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 48
CODES = np.array([(r, g, b) for r in (0, 1) for g in (0, 1) for b in (0, 1)], np.uint8)
"""The eight colour codes of SUIM, as 0 and 1."""


def draw_pair(number: int, side: int = SIDE) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw an image (side, side, 3) and its mask (side, side), 0 and 255."""
    rng = np.random.default_rng(number)
    mask = np.zeros((side, side), np.uint8)
    y, x = rng.integers(4, side // 4, 2)
    mask[y : y + side // 3, x : x + side // 2] = 255
    image = rng.integers(0, 120, (side, side, 3), dtype=np.uint8)
    image[mask > 0] = [230, 60, 20]
    return image, mask


def draw_isic(data: Path, count: int = 8) -> tuple[Path, Path]:
    """Draw a data set like ISIC; return its folders of images and masks."""
    images = data / "ISIC/ISIC2018_Task1-2_Training_Input"
    masks = data / "ISIC/ISIC2018_Task1_Training_GroundTruth"
    for folder in (images, masks):
        folder.mkdir(parents=True)
    for number in range(count):
        image, mask = draw_pair(number)
        Image.fromarray(image).save(images / f"ISIC_{number:07}.jpg", quality=95)
        Image.fromarray(mask).save(masks / f"ISIC_{number:07}_segmentation.png")
    return images, masks


def draw_lungs(data: Path, count: int = 8) -> tuple[Path, Path]:
    """Draw a data set of radiographs; return its folders of images and masks."""
    images, masks = data / "LungSegmentation/CXR_png", data / "LungSegmentation/masks"
    for folder in (images, masks):
        folder.mkdir(parents=True)
    for number in range(count):
        image, mask = draw_pair(number)
        Image.fromarray(image[..., 0]).save(images / f"CHNCXR_{number:04}_0.png")
        Image.fromarray(mask).save(masks / f"CHNCXR_{number:04}_0_mask.png")
    return images, masks


def draw_fss(data: Path, classes: int = 3) -> Path:
    """Draw a data set like FSS-1000, ten pairs per class; return the folder of the classes."""
    root = data / "FSS-1000"
    for class_id in range(classes):
        folder = root / f"class_{class_id:03}"
        folder.mkdir(parents=True)
        for number in range(1, 11):
            image, mask = draw_pair(100 * class_id + number)
            Image.fromarray(image).save(folder / f"{number}.jpg", quality=95)
            Image.fromarray(mask).save(folder / f"{number}.png")
    return root


def draw_voc(data: Path, count: int = 40) -> tuple[Path, Path]:
    """Draw a data set like VOC: image i shows class i % 5, with a border of 255 below it."""
    images, masks = data / "VOC2012/JPEGImages", data / "VOC2012/SegmentationClassAug"
    for folder in (images, masks):
        folder.mkdir(parents=True)
    for number in range(count):
        image, mask = draw_pair(number)
        label = np.where(mask > 0, 1 + number % 5, 0).astype(np.uint8)
        label[np.flatnonzero(mask.any(1)).max() + 1, :] = 255
        Image.fromarray(image).save(images / f"2007_{number:06}.jpg", quality=95)
        save_label(label, masks / f"2007_{number:06}.png")
    return images, masks


def draw_suim(data: Path, count: int = 12) -> tuple[Path, Path]:
    """Draw a data set like SUIM; each mask has eight stripes, one per colour code."""
    images, masks = data / "SUIM/images", data / "SUIM/masks"
    for folder in (images, masks):
        folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(draw_pair(number)[0]).save(images / f"im_{number:02}.jpg")
        Image.fromarray(make_stripes() * 255).save(masks / f"im_{number:02}.bmp")
    return images, masks


def make_stripes() -> NDArray[np.uint8]:
    """Make eight stripes (SIDE, SIDE, 3) of the colour codes, as 0 and 1."""
    return np.repeat(CODES, SIDE // 8, 0)[:, None].repeat(SIDE, 1)


def make_palette() -> NDArray[np.uint8]:
    """Make the palette (256, 3) of PASCAL VOC."""
    v = np.arange(256)
    bits = [sum(((v >> (3 * j + c)) & 1) << (7 - j) for j in range(3)) for c in range(3)]
    return np.stack(bits, 1).astype(np.uint8)


def save_label(label: NDArray[np.uint8], path: Path) -> None:
    """Write a label map as a palette PNG in VOC's colours."""
    image = Image.fromarray(label)
    image.putpalette(make_palette().tobytes())
    image.save(path, format="PNG")


def write_png(path: Path, values: NDArray[np.uint16], depth: int = 8) -> None:
    """Write a PNG of any bit depth, including those that Pillow cannot write.

    Args:
        path: the file.
        values: grey (H, W), grey with alpha (H, W, 2), RGB (H, W, 3) or RGBA (H, W, 4).
        depth: bits per channel; fewer than 8 for grey alone.
    """
    channels = 1 if values.ndim == 2 else values.shape[2]
    rows = values.reshape(values.shape[0], -1)
    if depth == 16:
        packed = rows.astype(">u2").view(np.uint8).reshape(len(rows), -1)
    elif depth == 8:
        packed = rows.astype(np.uint8)
    else:
        bits = (rows[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        packed = np.packbits(bits.reshape(len(rows), -1).astype(np.uint8), axis=1)
    content = b"".join(b"\0" + row.tobytes() for row in packed)
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(content)), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
            for name, body in chunks
        )
    )


def set_orientation(path: Path, orientation: int) -> None:
    """Set the EXIF orientation of an image file; its pixels do not change."""
    with Image.open(path) as stored:
        image, form = stored.copy(), stored.format
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, format=form, exif=exif, **({"quality": 95} if form == "JPEG" else {}))
