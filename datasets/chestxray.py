"""Chest radiographs with lung masks: the Shenzhen set, alone or with Montgomery."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fssbench.api import DataError, Dataset, DatasetCard, Entry, Pool, UsageError, Verification
from fssbench.imaging import read_rgb
from numpy.typing import NDArray
from PIL import Image

from ._binary import THRESHOLD, files, read_grey

IMAGES = "CXR_png"
MASKS = "masks"
SHENZHEN, MONTGOMERY = "CHNCXR_", "MCUCXR_"
SUFFIX = "_mask"
PUBLISHED = {"lung566": 566, "lung704": 704}


def is_shenzhen(stem: str) -> bool:
    """Whether a mask's stem is that of a Shenzhen mask, the ones PATNet's name rule fits."""
    return stem.startswith(SHENZHEN) and stem.endswith(SUFFIX)


def image_name(stem: str) -> str:
    """Image file of a mask's stem: Shenzhen masks carry a suffix, Montgomery masks none."""
    return stem.removesuffix(SUFFIX) + ".png"


class ChestXray(Dataset):
    """Lung fields; items are the mask files, because the reference samples from the masks' folder."""

    card = DatasetCard(
        name="chestxray",
        title="Chest X-ray",
        domain="radiograph",
        folders=("LungSegmentation", "lung"),
        url="https://www.kaggle.com/datasets/nikhilpandey360/chest-xray-masks-and-labels",
        licence="public release of the U.S. National Library of Medicine; cite the papers",
        citation="S. Jaeger et al., Two public chest X-ray datasets for computer-aided screening of pulmonary "
        "diseases, Quant. Imaging Med. Surg. 2014; S. Candemir et al., IEEE TMI 2014",
        layout="CXR_png/<name>.png\n"
        "masks/CHNCXR_<n>_<0|1>_mask.png   Shenzhen, 566 files\n"
        "masks/MCUCXR_<n>_<0|1>.png        Montgomery, 138 files, no suffix\n"
        "grey >= 128 is lung",
        variants=("lung566", "lung704"),
    )

    def classes(self) -> dict[int, str]:
        """One class."""
        return {0: "lung"}

    def pool(self, split: str) -> Pool:
        """Mask files sorted by name: Shenzhen (`lung566`), or Shenzhen and Montgomery (`lung704`)."""
        if split != "test":
            raise UsageError(f"data set 'chestxray' has no split {split!r}; it has: test")
        assert self.variant is not None
        both = self.variant == "lung704"
        found = [
            p.name
            for p in files(self.path(MASKS), ".png")
            if is_shenzhen(p.stem) or (both and p.stem.startswith(MONTGOMERY))
        ]
        if not found:
            raise DataError(
                f"chestxray: no Shenzhen mask (CHNCXR_*_mask.png) in {self.path(MASKS)}. "
                f"Next: get the data set from {self.card.url}"
            )
        rule = "CHNCXR_*_mask.png and MCUCXR_*.png" if both else "CHNCXR_*_mask.png"
        return Pool(
            tuple(Entry(f"{MASKS}/{name}", 0) for name in found),
            f"files on disk: masks/{rule} sorted by name",
            PUBLISHED[self.variant],
        )

    def image(self, item: str) -> Image.Image:
        """The radiograph of a mask, RGB."""
        return read_rgb(self.path(f"{IMAGES}/{image_name(Path(item).stem)}"))

    def label(self, item: str) -> NDArray[np.uint8]:
        """Grey values of the mask, soft edges kept."""
        return read_grey(self.path(item))

    def mask(self, item: str, class_id: int) -> NDArray[np.uint8]:
        """0/1 lung mask."""
        if class_id != 0:
            raise UsageError(f"chestxray has one class, 0 (lung); got {class_id}")
        return (self.label(item) >= THRESHOLD).astype(np.uint8)

    def verify(self) -> Verification:
        """Look at every radiograph and mask."""
        raise NotImplementedError

    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        """Write radiographs."""
        raise NotImplementedError
