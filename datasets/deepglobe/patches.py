"""Cuts DeepGlobe's land-cover tiles into patches, by the rule of PATNet's preparation script.

A tile is cut into 6x6 patches.  A patch is dropped if it has a single colour, or if its rarest colour covers at most
4.8 % of it.  Black (unknown) counts as a colour here, although it is not a class.  A kept patch is written once for
every class that it shows, with the binary mask of that class.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.api import DataError, find_file, list_files, read_codes, read_rgb, read_size

from ..shared.placing import refuse_problems

CLASSES = ("agriculture", "urban", "rangeland", "forest", "water", "barren")
"""In the order of the folders 1..6."""

COLOURS = {0b110: 0, 0b011: 1, 0b101: 2, 0b010: 3, 0b001: 4, 0b111: 5}
"""Class id by colour code, red the highest bit: yellow, cyan, magenta, green, blue, white."""

UNKNOWN = 0
"""Colour code of black; red (0b100) is not used by DeepGlobe."""

GRID = 6
SIDE = 2448
"""Side of the published tiles, which gives patches of 408."""
RAREST = 0.048
QUALITY = 95


def find_tiles(source: Path) -> list[tuple[Path, Path]]:
    """Return the (image, mask) pairs of the download, in `source` itself, `source/train` or `source/land-train`.

    Raises:
        DataError: if there are none, or an image of the labelled part has no mask.
    """
    for folder in (source, source / "train", source / "land-train"):
        images = [
            folder / on_disk
            for name, on_disk in list_files(folder, ".jpg").items()
            if name.endswith("_sat.jpg")
        ]
        if images:
            break
    else:
        raise DataError(f"deepglobe: no <tile>_sat.jpg in {source}, {source}/train or {source}/land-train")
    pairs = [(p, find_file(p.with_name(p.stem.removesuffix("_sat") + "_mask.png"))) for p in images]
    without = [image.name for image, mask in pairs if not mask.is_file()]
    if without:
        raise DataError(
            f"deepglobe: {len(without)} of {len(pairs)} tiles in {images[0].parent} have no mask, such as "
            f"{without[0]}; give the labelled training part (803 tiles), complete"
        )
    return pairs


def check_tiles(pairs: list[tuple[Path, Path]]) -> None:
    """Check every tile and its mask before the first is cut.

    Raises:
        DataError: if a mask is unreadable or holds no class colours, or a tile's size is not its mask's or
            cannot be cut; all are named.
    """
    problems = []
    for image, mask in pairs:
        try:
            width, height = read_size(image)
            shape = read_codes(mask).shape
        except DataError as error:
            problems.append(str(error).partition(" Next:")[0])
            continue
        if (height, width) != shape:
            problems.append(f"{image} is {width}x{height}, its mask {shape[1]}x{shape[0]}")
        elif height != width or height % GRID:
            problems.append(
                f"{image} is {width}x{height}; tiles are {SIDE}x{SIDE}, or square with a side that {GRID} divides"
            )
    what = f"deepglobe: {len(problems)} of {len(pairs)} tiles cannot be cut"
    refuse_problems(what, problems, "get these pairs from the land-cover download again, and prepare again")


def is_kept(codes: NDArray[np.uint8]) -> bool:
    """Return whether a patch (h, w) of colour codes passes the filter."""
    counts = np.bincount(codes.ravel(), minlength=8)
    counts = counts[counts > 0]
    return bool(len(counts) > 1 and counts.min() / codes.size > RAREST)


def cut_tile(image: Path, mask: Path, folder: Path) -> tuple[str, int]:
    """Cut one tile and write its patches below `folder`.

    Returns:
        A line about the tile for the log, and the number of (patch, class) entries written.

    Raises:
        DataError: if image and mask differ in size, or six does not divide the side.
    """
    pixels, codes = np.asarray(read_rgb(image)), read_codes(mask)
    height, width = codes.shape
    if pixels.shape[:2] != codes.shape:
        shown = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise DataError(f"deepglobe: {image} is {shown}, its mask {width}x{height}; get the pair again")
    if height != width or height % GRID:
        raise DataError(f"deepglobe: {image} is {width}x{height}; tiles are {SIDE}x{SIDE}")
    side = height // GRID
    kept = written = 0
    for row in range(GRID):
        for column in range(GRID):
            window = np.s_[row * side : (row + 1) * side, column * side : (column + 1) * side]
            if is_kept(codes[window]):
                kept += 1
                name = f"{image.stem}_{row}{column}"
                written += _write(pixels[window], codes[window], name, folder)
    notes = "" if side * GRID == SIDE else f"; side {height}, not the published {SIDE}"
    strange = int((codes == 0b100).sum())
    if strange:
        notes += f"; {strange} red pixels, a colour DeepGlobe does not use, are no class"
    return f"{image.name}: {kept} of {GRID * GRID} patches kept, {written} entries{notes}", written


def _write(pixels: NDArray[np.uint8], codes: NDArray[np.uint8], name: str, folder: Path) -> int:
    encoded = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(encoded, "JPEG", quality=QUALITY)
    present = [code for code in COLOURS if (codes == code).any()]
    for code in present:
        place = folder / str(COLOURS[code] + 1) / "test"
        for part in ("origin", "groundtruth"):
            (place / part).mkdir(parents=True, exist_ok=True)
        (place / "origin" / f"{name}.jpg").write_bytes(encoded.getvalue())
        mask = ((codes == code) * 255).astype(np.uint8)
        Image.fromarray(mask).save(place / "groundtruth" / f"{name}.png")
    return len(present)
