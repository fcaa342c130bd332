"""ISIC 2018 lesion boundaries: as one class, or by lesion folders as PATNet reads them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from fssbench.api import DataError, Dataset, DatasetCard, Entry, Pool, UsageError, Verification
from fssbench.imaging import read_rgb
from numpy.typing import NDArray
from PIL import Image

from ._binary import THRESHOLD, files, read_grey

IMAGES = "ISIC2018_Task1-2_Training_Input"
MASKS = "ISIC2018_Task1_Training_GroundTruth"
FOLDERS = ("1", "2", "3")
PUBLISHED = 2594
"""Training images of the 2018 task, and rows of PATNet's class table."""


class ISIC2018(Dataset):
    """Dermoscopic images with one lesion mask each."""

    card = DatasetCard(
        name="isic2018",
        title="ISIC2018",
        domain="dermoscopy",
        folders=("ISIC", "ISIC2018"),
        url="https://challenge.isic-archive.com/data/#2018",
        licence="CC-0 or CC BY-NC by file, as the ISIC archive states on its data page",
        citation="N. Codella et al., Skin Lesion Analysis Toward Melanoma Detection 2018, arXiv:1902.03368; "
        "P. Tschandl et al., The HAM10000 dataset, Scientific Data 2018",
        layout=f"{IMAGES}/<id>.jpg, or {IMAGES}/{{1,2,3}}/<id>.jpg\n"
        f"{MASKS}/<id>_segmentation.png   grey >= 128 is the lesion",
        variants=("isic1", "isic3"),
    )

    def classes(self) -> dict[int, str]:
        """One class, or the three folders, whose diseases PATNet does not name."""
        if self.variant == "isic1":
            return {0: "lesion"}
        return {i: f"lesion folder {name}" for i, name in enumerate(FOLDERS)}

    def pool(self, split: str) -> Pool:
        """`isic1`: all images by file name, wherever they lie; `isic3`: by folder, then by name."""
        if split != "test":
            raise UsageError(f"data set 'isic2018' has no split {split!r}; it has: test")
        return self._one_class() if self.variant == "isic1" else self._by_folder()

    def _one_class(self) -> Pool:
        places = [IMAGES, *(f"{IMAGES}/{f}" for f in FOLDERS)]
        items = [(p.name, f"{place}/{p.name}") for place in places for p in files(self.path(place), ".jpg")]
        if not items:
            raise DataError(f"isic2018: no .jpg in {self.path(IMAGES)} nor in its folders 1, 2, 3")
        twice = [name for name, count in Counter(name for name, _ in items).items() if count > 1]
        if twice:
            raise DataError(
                f"isic2018: {len(twice)} images lie in more than one folder below {self.path(IMAGES)}, "
                f"such as {twice[0]}; keep either the flat files or the folders 1, 2, 3"
            )
        # by file name alone: the flat and the foldered layout then give the same draws
        entries = tuple(Entry(item, 0) for _, item in sorted(items))
        return Pool(entries, "files on disk: *.jpg sorted by file name, all one class", PUBLISHED)

    def _by_folder(self) -> Pool:
        entries: list[Entry] = []
        for class_id, name in enumerate(FOLDERS):
            found = files(self.path(f"{IMAGES}/{name}"), ".jpg")
            if not found:
                raise DataError(
                    f"isic2018: variant isic3 needs {IMAGES}/1, /2 and /3 below {self.root}, one lesion class "
                    f"each; folder {name} is missing or empty. The class table is not part of the 2018 task "
                    "download, and PATNet does not state which folder is which disease. Next: "
                    "`fssbench data prepare isic2018` with a class_id.csv beside the images, "
                    "or use the variant isic1"
                )
            entries += [Entry(f"{IMAGES}/{name}/{p.name}", class_id) for p in found]
        return Pool(tuple(entries), "files on disk: folders 1, 2, 3, each sorted by name", PUBLISHED)

    def image(self, item: str) -> Image.Image:
        """The dermoscopic image, RGB."""
        return read_rgb(self.path(item))

    def label(self, item: str) -> NDArray[np.uint8]:
        """Grey values of the lesion mask."""
        return read_grey(self.path(self._mask_of(item)))

    def mask(self, item: str, class_id: int) -> NDArray[np.uint8]:
        """0/1 lesion mask; the lesion is of the image's one class."""
        if self.variant == "isic3" and f"/{FOLDERS[class_id]}/" not in item:
            raise UsageError(f"isic2018: {item} is not of class {class_id}; its folder is its class + 1")
        return (self.label(item) >= THRESHOLD).astype(np.uint8)

    @staticmethod
    def _mask_of(item: str) -> str:
        return f"{MASKS}/{Path(item).stem}_segmentation.png"

    def verify(self) -> Verification:
        """Look at every image and mask."""
        raise NotImplementedError

    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        """Write skin lesions."""
        raise NotImplementedError
