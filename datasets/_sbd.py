"""`prepare` of PASCAL: the VOC 2012 devkit and the SBD release become one folder of masks.

VOC's own masks win over SBD's wherever both exist: they are finer and carry the 255 border.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fssbench.api import DataError

from . import _files, _palette

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


def prepare(source: Path, target: Path) -> Iterator[str]:
    """Merge the download below `source` into `target` (JPEGImages, SegmentationClassAug, ImageSets).

    Yields:
        One line per step.

    Raises:
        DataError: where the devkit is incomplete, an SBD file is damaged, or scipy is needed and absent.
    """
    devkit = next((source / d for d in _DEVKIT if (source / d / "SegmentationClass").is_dir()), None)
    if devkit is None:
        tried = ", ".join(str(source / d / "SegmentationClass") for d in _DEVKIT[:3])
        raise DataError(f"no VOC 2012 devkit below {source}: looked for {tried}, ...")
    if not (devkit / "JPEGImages").is_dir():
        raise DataError(f"the VOC 2012 devkit at {devkit} is incomplete: folder JPEGImages is missing")
    sbd = next((source / d / "cls" for d in _SBD if (source / d / "cls").is_dir()), None)
    read = _reader() if sbd is not None else None  # before anything is written

    images = _files.place_all(devkit / "JPEGImages", target / "JPEGImages", ".jpg")
    yield f"JPEGImages: {images:,} images"
    own = _files.place_all(devkit / "SegmentationClass", target / "SegmentationClassAug", ".png")
    yield f"SegmentationClassAug: {own:,} masks of VOC 2012"
    if (devkit / _LISTS).is_dir():
        count = _files.place_all(devkit / _LISTS, target / _LISTS, ".txt")
        yield f"{_LISTS}: {count} lists"
    if sbd is None or read is None:
        yield f"no SBD release (dataset/cls/*.mat) below {source}: masks are those of VOC 2012 alone"
        return
    added, kept = [], 0
    for path in sorted(sbd.glob("*.mat")):
        if (devkit / "SegmentationClass" / f"{path.stem}.png").is_file():
            kept += 1
            continue
        _palette.save(read(path), target / "SegmentationClassAug" / f"{path.stem}.png")
        added.append(path.stem)
    yield f"SegmentationClassAug: {len(added):,} masks of SBD added; {kept:,} left out for VOC's own"
    bare = sum(not (target / "JPEGImages" / f"{stem}.jpg").is_file() for stem in added)
    if bare:
        yield f"warning: {bare:,} SBD masks have no image; `fssbench data verify pascal` names them"
    yield from _training_list(target, added)


def _training_list(target: Path, added: list[str]) -> Iterator[str]:
    """Trainaug = VOC train and all of SBD that is not VOC val; val masks never count as training."""
    train, val = target / _LISTS / "train.txt", target / _LISTS / "val.txt"
    if not (train.is_file() and val.is_file()):
        return
    chosen = sorted(({*train.read_text().split()} | {*added}) - {*val.read_text().split()})
    # a new file, never written through: the old one may be a link into the download
    partial = target / _LISTS / ".trainaug.partial"
    partial.write_text("".join(f"{name}\n" for name in chosen))
    partial.replace(target / _LISTS / "trainaug.txt")
    yield f"{_LISTS}/trainaug.txt: {len(chosen):,} images"


def _reader() -> Any:
    """A function from an SBD file to its label map (H, W).

    Raises:
        DataError: where scipy, which reads MATLAB files, is not installed.
    """
    try:
        from scipy.io import loadmat
    except ImportError:
        raise DataError(
            "SBD's .mat files need scipy. Next: `pip install scipy`, then the same command"
        ) from None

    def read(path: Path) -> NDArray[np.uint8]:
        try:
            label = loadmat(path, squeeze_me=True, struct_as_record=False)["GTcls"].Segmentation
            label = np.asarray(label)
            sound = label.ndim == 2 and label.dtype == np.uint8 and int(label.max()) <= 20
        except (KeyboardInterrupt, MemoryError):
            raise
        except Exception as error:  # a damaged MATLAB file may raise almost anything
            raise DataError(f"{path} is no readable SBD file ({type(error).__name__}: {error})") from None
        if not sound:
            raise DataError(f"{path}: GTcls.Segmentation is not a map of labels 0..20 in 8 bits")
        return np.asarray(label, dtype=np.uint8)

    return read
