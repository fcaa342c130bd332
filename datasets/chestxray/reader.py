"""Chest radiographs with lung masks: the Shenzhen set, alone or with Montgomery."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.api import (
    THRESHOLD,
    DataError,
    Dataset,
    DatasetCard,
    Entry,
    Pool,
    Population,
    UsageError,
    Verification,
    find_file,
    list_files,
    open_image,
    read_grey,
    read_rgb,
)

from ..shared import checks
from ..shared.pairs import check_pair, warn_of_files, warn_of_other_size
from ..shared.staging import stage_folder
from . import join_lungs
from .join_lungs import IMAGES, LEFT, MASKS, RIGHT
from .miniature import draw_files

_SOURCE = "National Library of Medicine: 566 Shenzhen masks, 138 Montgomery masks"
POPULATIONS: dict[tuple[str | None, str], Population] = {
    ("lung566", "test"): Population(entries=566, images=566, source=_SOURCE),
    ("lung704", "test"): Population(entries=704, images=704, source=_SOURCE),
}
"""Published size by variant and split."""
SHENZHEN, MONTGOMERY = "CHNCXR_", "MCUCXR_"
SUFFIX = "_mask"


def is_shenzhen(stem: str) -> bool:
    """Return whether the stem is that of a Shenzhen mask.  Only these masks fit PATNet's rule for names."""
    return stem.startswith(SHENZHEN) and stem.endswith(SUFFIX)


def image_name(stem: str) -> str:
    """Return the image file of a mask: Shenzhen masks carry a suffix, Montgomery masks do not."""
    return stem.removesuffix(SUFFIX) + ".png"


def _shows(path: Path, oddity: Callable[[NDArray[np.uint8]], bool]) -> bool:
    """Return whether a file shows an oddity; False for an unreadable file, which is reported elsewhere."""
    try:
        return oddity(np.asarray(open_image(find_file(path)).convert("L")))
    except DataError:
        return False


def _is_soft(grey: NDArray[np.uint8]) -> bool:
    return bool(((grey > 0) & (grey < 255)).any())


def _is_padded(grey: NDArray[np.uint8]) -> bool:
    """Return whether at least 2 % of the rows or columns are black on one side."""
    for bright in (grey.max(axis=1), grey.max(axis=0)):
        lit = np.flatnonzero(bright > 2)
        least = max(2, len(bright) // 50)
        if lit.size and max(lit[0], len(bright) - 1 - lit[-1]) >= least:
            return True
    return False


class ChestXray(Dataset):
    """Lung fields.  Items are the mask files, because the reference samples from the folder of masks."""

    card = DatasetCard(
        name="chestxray",
        title="Chest X-ray",
        domain="radiograph",
        folders=("LungSegmentation", "lung", "Lung Segmentation", "data/Lung Segmentation"),
        url="https://www.kaggle.com/datasets/nikhilpandey360/chest-xray-masks-and-labels",
        licence="public release of the U.S. National Library of Medicine; cite the papers",
        citation="S. Jaeger et al., Two public chest X-ray datasets for computer-aided screening of "
        "pulmonary diseases, Quant. Imaging Med. Surg. 2014; S. Candemir et al., IEEE TMI 2014",
        layout="CXR_png/<name>.png\n"
        "masks/CHNCXR_<n>_<0|1>_mask.png   Shenzhen, 566 files\n"
        "masks/MCUCXR_<n>_<0|1>.png        Montgomery, 138 files, no suffix\n"
        "grey >= 128 is lung; the published masks have soft edges, which the reference thresholds so\n"
        "`data prepare` joins Montgomery's ManualMask/leftMask and rightMask into masks/",
        variants=("lung566", "lung704"),
    )

    judges_files = True
    layout_folders = (IMAGES, MASKS)

    @classmethod
    def holds(cls, root: Path) -> bool:
        """Return whether the folder of the radiographs exists.  Other data sets have a folder `masks` too."""
        return (root / IMAGES).is_dir()

    def classes(self) -> dict[int, str]:
        """Return the one class."""
        return {0: "lung"}

    def pool(self, split: str) -> Pool:
        """List the mask files by name: Shenzhen (`lung566`), or Shenzhen and Montgomery (`lung704`)."""
        if split != "test":
            raise UsageError(f"data set 'chestxray' has no split {split!r}; it has: test")
        both = self.variant == "lung704"
        names = [
            name
            for name in list_files(self.path(MASKS), ".png")
            if is_shenzhen(Path(name).stem) or (both and name.startswith(MONTGOMERY))
        ]
        if not names:
            raise DataError(
                f"chestxray: no Shenzhen mask (CHNCXR_*_mask.png) in {self.path(MASKS)}. "
                f"Next: get the data set from {self.card.url}"
            )
        rule = "CHNCXR_*_mask.png and MCUCXR_*.png" if both else "CHNCXR_*_mask.png"
        return Pool(
            tuple(Entry(f"{MASKS}/{name}", 0) for name in names),
            f"files on disk: masks/{rule} sorted by name",
            population=POPULATIONS[self.variant, split],
        )

    def files(self, item: str) -> tuple[Path, ...]:
        """Return the image and its mask."""
        return self.path(f"{IMAGES}/{image_name(Path(item).stem)}"), self.path(item)

    def image(self, item: str) -> Image.Image:
        """Read the radiograph of a mask, RGB."""
        return read_rgb(self.files(item)[0])

    def label(self, item: str) -> NDArray[np.uint8]:
        """Read the grey values of the mask with their soft edges."""
        return read_grey(self.path(item))

    def mask(self, item: str, class_id: int) -> NDArray[np.uint8]:
        """Read the 0/1 lung mask."""
        if class_id != 0:
            raise UsageError(f"chestxray has one class, 0 (lung); got {class_id}")
        return (self.label(item) >= THRESHOLD).astype(np.uint8)

    def verify(self) -> Verification:
        """Check every mask and its radiograph, also those that the variant does not read."""
        report = checks.start_report(self)
        masks = checks.list_data_files(report, MASKS, {".png"})
        images = checks.list_data_files(report, IMAGES, {".png"})
        strange = [m for m in masks if not is_shenzhen(Path(m).stem) and not m.startswith(MONTGOMERY)]
        for name in strange:
            checks.add_error(
                report,
                f"{MASKS}/{name}",
                "name is neither CHNCXR_*_mask.png nor MCUCXR_*.png; no variant reads it",
                "name it as published",
            )
        known = [m for m in masks if m not in set(strange)]
        used = [m for m in known if self.variant == "lung704" or is_shenzhen(Path(m).stem)]
        usable = {m for m in known if self._check_pair(report, m)}
        report.histogram["lung"] = sum(m in usable for m in used)
        self._warn_of_oddities(report, known)
        paired = {image_name(Path(m).stem) for m in masks}
        without = [name for name in images if name not in paired]
        self._warn_of_images_without_mask(report, without)
        checks.warn_of_small_classes(report, report.histogram, MASKS)
        warn_of_other_size(report, MASKS, self, f"masks of {self.variant}")
        return report

    def _warn_of_images_without_mask(self, report: Verification, images: list[str]) -> None:
        """Warn of radiographs without a mask, grouped by the remedy."""
        halves = {n for side in (LEFT, RIGHT) for n in list_files(report.root / side, ".png")}
        mine = [n for n in images if n.startswith(MONTGOMERY)]
        warn_of_files(
            report,
            IMAGES,
            [n for n in mine if n in halves],
            "no mask that is read, but masks of the left and the right lung in ManualMask",
            f"join them: `fssbench data prepare chestxray {report.root} --data DIR`",
        )
        warn_of_files(
            report,
            IMAGES,
            [n for n in mine if n not in halves],
            "no mask; never drawn",
            "every radiograph of Montgomery has a mask: get ManualMask of its release and run `fssbench data prepare`",
        )
        others = [n for n in images if not n.startswith(MONTGOMERY)]
        warn_of_files(
            report, IMAGES, others, "no mask; never drawn", "nothing to do: the release has such images"
        )

    def _check_pair(self, report: Verification, name: str) -> bool:
        return check_pair(report, f"{IMAGES}/{image_name(Path(name).stem)}", f"{MASKS}/{name}")

    def _warn_of_oddities(self, report: Verification, masks: list[str]) -> None:
        """Warn once of each surprising property that the release has, with the number of files."""
        unread = [m for m in masks if not is_shenzhen(Path(m).stem)]
        if self.variant == "lung566":
            warn_of_files(
                report,
                MASKS,
                unread,
                "Montgomery masks, named without _mask; lung566 does not read them",
                "nothing to do; the variant lung704 reads both and draws other episodes",
            )
        soft = [m for m in masks if _shows(report.root / MASKS / m, _is_soft)]
        warn_of_files(
            report,
            MASKS,
            soft,
            f"soft edges (values between 0 and 255); the threshold {THRESHOLD} decides",
            "nothing to do: the reference thresholds the same way",
        )
        names = [image_name(Path(m).stem) for m in masks]
        padded = [name for name in names if _shows(report.root / IMAGES / name, _is_padded)]
        warn_of_files(
            report,
            IMAGES,
            padded,
            "padded with black on at least one side",
            "nothing to do: padding is background, but it takes part in the score",
        )

    @classmethod
    def prepare(cls, source: Path, data: Path) -> Iterator[str]:
        """Join Montgomery's masks of two lungs, and bring both releases together.  Existing files stay."""
        return join_lungs.prepare(source, data / cls.card.folders[0])

    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        """Write radiographs with Shenzhen names, and a few with Montgomery's."""
        with stage_folder(data / cls.card.folders[0]) as folder:
            draw_files(folder, seed)
