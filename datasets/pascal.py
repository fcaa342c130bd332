"""PASCAL VOC 2012 with the SBD annotations, as PASCAL-5i uses it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench import splits as reference
from fssbench.api import IGNORE, DataError, Dataset, DatasetCard, Entry, Pool, UsageError, Verification
from fssbench.imaging import read_index, read_rgb

from . import _lists

CLASSES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor"
).split()
IMAGES = "JPEGImages"
MASKS = "SegmentationClassAug"
LISTS = "ImageSets/Segmentation"
SHARE = 0.01
"""Part of the image a class must cover to count as present where no list says so: the reference
lists leave out most objects below it, by a rule nobody published."""
PUBLISHED = {"trn": 13_680, "val": 1_868}


class Pascal(Dataset):
    """VOC 2012: 20 classes, palette masks with a 255 border."""

    card = DatasetCard(
        name="pascal",
        title="PASCAL VOC 2012",
        domain="natural",
        folders=("VOC2012", "VOCdevkit/VOC2012", "PASCAL", "pascal"),
        url="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        licence="images from Flickr, under Flickr's terms of use; no licence for the annotations is stated",
        citation=(
            "Everingham, Eslami, Van Gool, Williams, Winn, Zisserman: The PASCAL Visual Object Classes "
            "Challenge: A Retrospective. IJCV 2015. Extra masks: Hariharan, Arbelaez, Bourdev, Maji, Malik: "
            "Semantic Contours from Inverse Detectors. ICCV 2011"
        ),
        layout=(
            "JPEGImages/NAME.jpg; SegmentationClassAug/NAME.png (8-bit palette: 0 background, 1..20 classes, "
            "255 border). `prepare` merges the VOC devkit (SegmentationClass) with the SBD release (.mat)."
        ),
    )

    def classes(self) -> dict[int, str]:
        return dict(enumerate(CLASSES))

    def pool(self, split: str) -> Pool:
        if split not in PUBLISHED:
            raise UsageError(f"data set 'pascal' has no split {split!r}; known: trn, val")
        present = self._on_disk() if self.root is not None else frozenset()
        listed: list[Entry] = []
        if self.splits is not None and (self.splits / "pascal").is_dir():
            for fold in range(reference.FOLDS):
                path = self.splits / "pascal" / split / f"fold{fold}.txt"
                listed += [Entry(name, class_id) for name, class_id in reference.read_pascal(path)]
            pool = _lists.from_lists(listed, None if self.root is None else lambda e: e.item in present)
            if pool.entries:
                return pool
        if self.root is None:
            raise DataError(
                "data set 'pascal' has neither files nor reference lists. Next: `fssbench data splits DIR`, "
                "or name the folder of the data sets with --data"
            )
        return self._from_files(split, present, len(listed))

    def _on_disk(self) -> frozenset[str]:
        images = {n[:-4] for n in _lists.names(self.path(IMAGES)) if n.endswith(".jpg")}
        return frozenset(
            n[:-4] for n in _lists.names(self.path(MASKS)) if n.endswith(".png") and n[:-4] in images
        )

    def _from_files(self, split: str, present: frozenset[str], listed: int) -> Pool:
        rule = f"files on disk: classes that cover at least {SHARE:.0%} of the image"
        candidates = ("val",) if split == "val" else ("trainaug", "train")
        chosen = next((p for c in candidates if (p := self.path(f"{LISTS}/{c}.txt")).is_file()), None)
        if chosen is not None:
            items = [name for name in chosen.read_text().split() if name in present]
            rule += f", images of {LISTS}/{chosen.name}"
        elif split == "val":
            items = sorted(present)
            rule += f", every mask in {MASKS} by name"
        else:
            raise DataError(
                f"which images of {self.root} are for training is not known: neither reference lists nor "
                f"{LISTS}/trainaug.txt or train.txt are there. Next: `fssbench data splits DIR`"
            )
        if listed:
            rule += f" (none of the {listed:,} reference entries is on disk)"
        held = _lists.covered(self.path("."), MASKS, SHARE)
        by_class = {item: [v - 1 for v in held[item] if v <= len(CLASSES)] for item in sorted(items)}
        # the order of the reference: fold by fold, then image, then class
        entries = tuple(
            Entry(item, class_id)
            for fold in range(reference.FOLDS)
            for item, present_classes in by_class.items()
            for class_id in present_classes
            if class_id // 5 == fold
        )
        if not entries:
            raise DataError(
                f"no image with a mask for split {split!r} below {self.root}. Next: `fssbench data verify`"
            )
        return Pool(entries, rule, published=PUBLISHED[split])

    def image(self, item: str) -> Image.Image:
        return read_rgb(self.path(f"{IMAGES}/{item}.jpg"))

    def label(self, item: str) -> NDArray[np.uint8]:
        return read_index(self.path(f"{MASKS}/{item}.png"))

    def mask(self, item: str, class_id: int) -> NDArray[np.uint8]:
        label = self.label(item)
        mask = (label == class_id + 1).astype(np.uint8)
        mask[label == IGNORE] = IGNORE
        return mask

    def verify(self) -> Verification:
        from ._pascal_files import verify

        return verify(self)

    @classmethod
    def prepare(cls, source: Path, data: Path) -> Iterator[str]:
        from ._pascal_files import prepare

        return prepare(source, data / cls.card.folders[0])

    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        from ._pascal_files import miniature

        miniature(data, seed)
