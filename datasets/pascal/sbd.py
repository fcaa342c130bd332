"""`prepare` of PASCAL: the VOC 2012 devkit and the SBD release become one folder of masks.

VOC's own masks win over SBD's wherever both exist: they are finer and carry the 255 border.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fssbench.api import DataError, find_file, list_files, read_size

from ..shared import palette, placing
from ..shared.staging import stage_and_merge
from . import voc_lists

_DEVKIT = (
    "",
    "VOC2012",
    "VOCdevkit/VOC2012",
    "VOCtrainval_11-May-2012/VOCdevkit/VOC2012",
    "TrainVal/VOCdevkit/VOC2012",
)
_SBD = (
    "",
    "dataset",
    "SBD",
    "sbd",
    "SBD/dataset",
    "sbd/dataset",
    "benchmark_RELEASE/dataset",
    "SBD/benchmark_RELEASE/dataset",
)
_LISTS = "ImageSets/Segmentation"
_MASKS = "SegmentationClassAug"
_LARGEST = 4_000_000
"""Bytes of an SBD file; a larger one may unpack to more than the memory holds."""

Read = Callable[[Path], NDArray[np.uint8]]


def prepare(source: Path, target: Path) -> Iterator[str]:
    """Merge the download below `source` into `target` (JPEGImages, SegmentationClassAug, ImageSets).

    Yields:
        One line per step.

    Raises:
        DataError: if the devkit is incomplete, or an SBD file is damaged.
    """
    devkit = next((source / d for d in _DEVKIT if (source / d / "SegmentationClass").is_dir()), None)
    if devkit is None:
        tried = ", ".join(str(source / d / "SegmentationClass") for d in _DEVKIT[:3])
        raise DataError(f"no VOC 2012 devkit below {source}: looked for {tried}, ...")
    if not (devkit / "JPEGImages").is_dir():
        raise DataError(f"the VOC 2012 devkit at {devkit} is incomplete: folder JPEGImages is missing")
    sbd = next((source / d / "cls" for d in _SBD if (source / d / "cls").is_dir()), None)
    read = _load_mat_reader() if sbd is not None else None  # before anything is written
    for name in ("train", "val"):
        if (devkit / _LISTS / f"{name}.txt").is_file():
            voc_lists.read_names(devkit / _LISTS / f"{name}.txt")

    with stage_and_merge(target) as folder:
        yield from _place_devkit(devkit, target, folder)
        if sbd is None or read is None:
            yield f"no SBD release (dataset/cls/*.mat) below {source}: masks are those of VOC 2012 alone"
            return
        images = folder if (folder / "JPEGImages").is_dir() else target
        added, kept = _draw_masks(sbd, read, images / "JPEGImages", folder / _MASKS)
        yield f"{_MASKS}: {len(added):,} masks of SBD added; {kept:,} left out for VOC's own"
        bare = sum(not find_file(images / "JPEGImages" / f"{stem}.jpg").is_file() for stem in added)
        if bare:
            yield f"warning: {bare:,} SBD masks have no image; `fssbench data verify pascal` names them"
        yield from _write_training_list(devkit / _LISTS, placing.make_folder(folder / _LISTS), added)


def _place_devkit(devkit: Path, target: Path, folder: Path) -> Iterator[str]:
    """Place images, masks and lists of VOC 2012 below `folder`, which becomes part of `target`.

    Raises:
        DataError: if the devkit has no image or no mask.
    """
    inside = placing.is_same_folder(devkit, target)
    for part, ending, goal in (("JPEGImages", ".jpg", "JPEGImages"), ("SegmentationClass", ".png", _MASKS)):
        count = len(list_files(devkit / part, ending))
        if count == 0:
            raise DataError(f"the VOC 2012 devkit at {devkit} is incomplete: no {ending} in {part}")
        if goal == _MASKS or not inside:
            placing.place_files(devkit / part, folder / goal, ending)
        yield f"{goal}: {count:,} {'masks of VOC 2012' if goal == _MASKS else 'images'}"
    if (devkit / _LISTS).is_dir() and not inside:
        yield f"{_LISTS}: {placing.place_files(devkit / _LISTS, folder / _LISTS, '.txt')} lists"


def _draw_masks(sbd: Path, read: Read, images: Path, masks: Path) -> tuple[list[str], int]:
    """Write the masks of SBD that VOC does not have.

    Returns:
        Their names, and the number of those left out.

    Raises:
        DataError: if files are malformed or do not fit their images, naming them.
    """
    own = frozenset(list_files(masks, ".png"))
    added: list[str] = []
    problems: list[str] = []
    files = list_files(sbd, ".mat")
    for name, on_disk in files.items():
        stem = Path(name).stem
        if f"{stem}.png" in own:
            continue
        try:
            label = read(sbd / on_disk)
            image = find_file(images / f"{stem}.jpg")
            size = read_size(image) if image.is_file() else label.shape[::-1]
        except DataError as error:
            problems.append(str(error))
            continue
        if size != label.shape[::-1]:
            problems.append(
                f"{sbd / on_disk} is {label.shape[1]}x{label.shape[0]}, its image {size[0]}x{size[1]}"
            )
        elif not problems:
            palette.save_labels(label, masks / f"{stem}.png")
        added.append(stem)
    what = f"{len(problems):,} of {len(files):,} SBD files cannot be used"
    placing.refuse_problems(what, problems, "get these files from the SBD release again")
    return added, len(files) - len(added)


def _write_training_list(lists: Path, out: Path, added: list[str]) -> Iterator[str]:
    """Write trainaug: VOC train and all of SBD that is not in VOC val, because val masks never count as training."""
    train, val = lists / "train.txt", lists / "val.txt"
    if not (train.is_file() and val.is_file()):
        return
    training_names = sorted(({*voc_lists.read_names(train)} | {*added}) - {*voc_lists.read_names(val)})
    trainaug = out / "trainaug.txt"
    trainaug.unlink(missing_ok=True)  # never written through: it may be a link into the download
    trainaug.write_text("".join(f"{name}\n" for name in training_names), encoding="utf-8", newline="\n")
    yield f"{_LISTS}/trainaug.txt: {len(training_names):,} images"


def _load_mat_reader() -> Read:
    """Return a function that reads the label map (H, W) of an SBD file."""
    from scipy.io import loadmat

    def read(path: Path) -> NDArray[np.uint8]:
        try:
            if path.stat().st_size > _LARGEST:
                raise ValueError(f"{path.stat().st_size:,} bytes; a mask of SBD has a few thousand")
            label = loadmat(path, squeeze_me=True, struct_as_record=False)["GTcls"].Segmentation
            label = np.asarray(label)
            sound = label.ndim == 2 and label.size > 0 and label.dtype == np.uint8 and int(label.max()) <= 20
        except KeyboardInterrupt:
            raise
        # no memory for what it announces, or a damaged file: it may raise almost anything
        except Exception as error:
            raise DataError(f"{path} is not a readable SBD file ({type(error).__name__}: {error})") from None
        if not sound:
            raise DataError(f"{path}: GTcls.Segmentation is not a map of labels 0..20 in 8 bits")
        return np.asarray(label, dtype=np.uint8)

    return read
