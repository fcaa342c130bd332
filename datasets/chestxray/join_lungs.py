"""`prepare` of the radiographs: Montgomery's masks of the left and the right lung become one.

The set that papers use, and this project reads, has one mask a radiograph.  The original release of Montgomery
county has two, `ManualMask/leftMask` and `ManualMask/rightMask`.  Their union is written; what is there stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.api import THRESHOLD, DataError, list_files, read_grey, read_size

from ..shared import placing
from ..shared.staging import stage_and_merge

IMAGES = "CXR_png"
MASKS = "masks"
LEFT, RIGHT = "ManualMask/leftMask", "ManualMask/rightMask"
_PLACES = (
    "",
    "LungSegmentation",
    "Lung Segmentation",
    "data/Lung Segmentation",
    "MontgomerySet",
    "ChinaSet_AllFiles",
    "NLM-MontgomeryCXRSet/MontgomerySet",
    "MontgomerySet/MontgomerySet",
    "ChinaSet_AllFiles/ChinaSet_AllFiles",
)
_MASK_FOLDERS = (MASKS, "mask", "mask/mask")
"""Where masks lie that are whole: the Kaggle archive, and the masks of Shenzhen by themselves."""
OVERLAP = 0.05
"""Part of the smaller lung that both masks may share; more means that one file is there twice."""


def prepare(source: Path, target: Path) -> Iterator[str]:
    """Bring radiographs and whole masks together below `target`, and join the masks of two lungs.

    Args:
        source: a release, or a folder with the releases of Montgomery and Shenzhen.
        target: the folder of the data set.

    Yields:
        One line per step.

    Raises:
        DataError: if there is nothing to join or place, or a mask cannot be used, naming it.
    """
    bases = [base for place in _PLACES if (base := source / place).joinpath(IMAGES).is_dir()]
    if not bases:
        raise DataError(
            f"chestxray: no folder {IMAGES} in {source} nor in its folders {', '.join(_PLACES[1:6])}. "
            "Next: give the folder that holds CXR_png and ManualMask"
        )
    images = _collect(bases, (IMAGES,))
    whole = _collect(bases, _MASK_FOLDERS)
    left, right = _collect(bases, (LEFT,)), _collect(bases, (RIGHT,))
    joined = sorted({*left, *right} - {*whole})
    if not whole and not joined:
        raise DataError(
            f"chestxray: no mask in {source}: looked for {', '.join((*_MASK_FOLDERS, LEFT, RIGHT))}"
        )
    if not joined and any(placing.is_same_folder(base, target) for base in bases):
        raise DataError(f"chestxray: {source} has no masks of two lungs to join; it is read as it is")
    with stage_and_merge(target) as folder:
        problems: list[str] = []
        for name in joined:
            try:
                mask = join_masks(left.get(name), right.get(name), images.get(name), name)
            except DataError as error:
                problems.append(str(error).partition(" Next:")[0])
                continue
            Image.fromarray(mask).save(placing.make_folder(folder / MASKS) / name)
        what = f"chestxray: {len(problems):,} of {len(joined):,} pairs of masks cannot be joined"
        placing.refuse_problems(what, problems, "get these files from the release again")
        for part, files in ((IMAGES, images), (MASKS, whole)):
            for name, path in files.items():
                if not placing.is_same_folder(path.parent, target / part):
                    placing.place_file(path, placing.make_folder(folder / part) / name)
    yield f"{IMAGES}: {len(images):,} radiographs"
    yield f"{MASKS}: {len(joined):,} joined from the masks of two lungs, {len(whole):,} whole ones"
    kept = sum(name in whole for name in {*left, *right})
    if kept:
        yield f"{MASKS}: {kept:,} of the whole ones have masks of two lungs too; the whole ones are kept"


def _collect(bases: list[Path], folders: tuple[str, ...]) -> dict[str, Path]:
    """Find the files of some folders in all releases, by name.

    Raises:
        DataError: if two different files have one name.
    """
    files: dict[str, Path] = {}
    for place in (base / folder for base in bases for folder in folders):
        for name, on_disk in list_files(place, ".png").items():
            path = place / on_disk
            other = files.setdefault(name, path)
            if not other.samefile(path) and other.read_bytes() != path.read_bytes():
                raise DataError(f"chestxray: {other} and {path} differ; keep one of them")
    return files


def join_masks(left: Path | None, right: Path | None, image: Path | None, name: str) -> NDArray[np.uint8]:
    """Join the masks of the left and the right lung, 0 and 255 (H, W).

    Raises:
        DataError: if one is missing, empty or no mask, their sizes or that of the radiograph differ, or both
            show the same lung.
    """
    if left is None or right is None:
        side = LEFT if left is None else RIGHT
        raise DataError(f"{name} has no mask in {side}")
    halves = [_read_half(path) for path in (left, right)]
    sizes = [f"{half.shape[1]}x{half.shape[0]}" for half in halves]
    if halves[0].shape != halves[1].shape:
        raise DataError(f"{left} is {sizes[0]}, {right} is {sizes[1]}")
    if image is None:
        raise DataError(f"{left} has no radiograph {IMAGES}/{name}")
    width, height = read_size(image)
    if (height, width) != halves[0].shape:
        raise DataError(f"{left} is {sizes[0]}, the radiograph {image} is {width}x{height}")
    shared = int((halves[0] & halves[1]).sum())
    if shared > OVERLAP * min(int(half.sum()) for half in halves):
        raise DataError(f"{left} and {right} share {shared:,} pixels: they show the same lung")
    union: NDArray[np.uint8] = (halves[0] | halves[1]).astype(np.uint8) * np.uint8(255)
    return union


def _read_half(path: Path) -> NDArray[np.bool_]:
    """Read the mask of one lung, which holds 0 and 255 and is not empty."""
    grey = read_grey(path, expected=("empty", "dark"))
    highest = int(grey.max(initial=0))
    if highest < THRESHOLD:
        raise DataError(f"{path} shows no lung: its highest value is {highest}, expected 255")
    if float(((grey > 32) & (grey < 223)).mean()) > 0.1:
        raise DataError(f"{path} is no mask: it holds more than the values 0 and 255")
    return grey >= THRESHOLD
