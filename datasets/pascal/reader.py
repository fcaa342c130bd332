"""PASCAL VOC 2012 with the SBD annotations, as PASCAL-5i uses it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.api import (
    IGNORE,
    DataError,
    Dataset,
    DatasetCard,
    Entry,
    OtherList,
    Pool,
    Population,
    UsageError,
    Verification,
    judge_list,
    list_files,
    read_index,
    read_rgb,
)

from ..shared import checks, palette, pools
from . import miniature, sbd, voc_lists
from .lists import CLASSES_PER_FOLD, FOLDS, LISTS as FOLD_LISTS

_SOURCE = "lists of juhongm999/hsnet, counted"
POPULATIONS: dict[tuple[str | None, str], Population] = {
    (None, "trn"): Population(entries=13_680, images=10_092, source=_SOURCE),
    (None, "val"): Population(entries=1_868, images=1_381, source=_SOURCE),
}
"""Published size by variant and split."""
COCO_TWINS = {
    "aeroplane": 4,
    "bicycle": 1,
    "bird": 14,
    "boat": 8,
    "bottle": 39,
    "bus": 5,
    "car": 2,
    "cat": 15,
    "chair": 56,
    "cow": 19,
    "diningtable": 60,
    "dog": 16,
    "horse": 17,
    "motorbike": 3,
    "person": 0,
    "pottedplant": 58,
    "sheep": 18,
    "sofa": 57,
    "train": 6,
    "tvmonitor": 62,
}
"""The classes, each with the 0-based id of the COCO class of the same thing."""
CLASSES = list(COCO_TWINS)
LABELS = range(1, len(CLASSES) + 1)
"""Values of the classes in a mask; 0 is background, 255 a border that is ignored."""
IMAGES = "JPEGImages"
MASKS = "SegmentationClassAug"
LISTS = "ImageSets/Segmentation"
SHARE = 0.01
"""Part of the image that a class must cover to count as present if no list names it.  The reference
lists leave out most smaller objects, by a rule that nobody published."""
SPLITS = ("trn", "val")
_VOC_ID = re.compile(r"\d{4}_\d{6}")


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

    layout_folders = (IMAGES, MASKS)
    list_formats = (FOLD_LISTS,)
    class_twins = {"coco": dict(enumerate(COCO_TWINS.values()))}
    judges_files = True

    def classes(self) -> dict[int, str]:
        """Return the names by 0-based class id."""
        return dict(enumerate(CLASSES))

    def pool(self, split: str) -> Pool:
        """List the entries of "trn" or "val", fold by fold, from the reference lists or else from the files."""
        if split not in SPLITS:
            raise UsageError(f"data set 'pascal' has no split {split!r}; known: trn, val")
        present = self._list_items_on_disk() if self.root is not None else frozenset()
        listed: list[Entry] = []
        if self.splits is not None and (self.splits / "pascal").is_dir():
            pairs, others = self._read_fold_lists(self.splits, split)
            listed = [Entry(name, class_id) for name, class_id in pairs]
            pool = pools.pool_from_lists(
                listed,
                None if self.root is None else lambda e: e.item in present,
                POPULATIONS[None, split],
                other_lists=others,
            )
            if pool.entries:
                return pool
        if self.root is None:
            raise DataError(
                "data set 'pascal' has neither files nor reference lists. Next: `fssbench data splits DIR`, "
                "or name the folder of the data sets with --data"
            )
        return self._list_from_files(split, present, len(listed))

    @staticmethod
    def _read_fold_lists(splits: Path, split: str) -> tuple[list[tuple[str, int]], tuple[OtherList, ...]]:
        """Return the pairs of a split's four fold lists in one list, and the lists that are not the reference's."""
        pairs: list[tuple[str, int]] = []
        others: tuple[OtherList, ...] = ()
        for fold in range(FOLDS):
            path = FOLD_LISTS.path(splits, split, fold)
            listed = pools.read_list(FOLD_LISTS, path)
            judgement = judge_list(FOLD_LISTS, split, fold, FOLD_LISTS.hashed_lines(listed), path)
            first = CLASSES_PER_FOLD * fold
            classes = {*range(first, first + CLASSES_PER_FOLD), *(class_id for _, class_id in listed)}
            others += pools.collect_other_list(judgement, classes)
            pairs += listed
        return pairs, others

    def _list_items_on_disk(self) -> frozenset[str]:
        images = {name[:-4] for name in list_files(self.path(IMAGES), ".jpg")}
        return frozenset(n[:-4] for n in list_files(self.path(MASKS), ".png") if n[:-4] in images)

    def _list_from_files(self, split: str, present: frozenset[str], listed: int) -> Pool:
        rule = f"files on disk: classes that cover at least {SHARE:.0%} of the image"
        candidates = ("val",) if split == "val" else ("trainaug", "train")
        voc_list = next((p for c in candidates if (p := self.path(f"{LISTS}/{c}.txt")).is_file()), None)
        if voc_list is not None:
            names = voc_lists.read_names(voc_list)
            items = [name for name in names if name in present]
            missing = voc_lists.count_missing(names, len(names) - len(items))
            rule += f", images of {LISTS}/{voc_list.name}{missing}"
            if not items:
                raise DataError(
                    f"none of the {len(names):,} names in {voc_list}, such as {names[0]!r}, has an image and a mask "
                    f"in {self.root}. Next: `fssbench data verify`"
                )
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
        labels_by_item = pools.scan_covered_labels(
            self.path("."), MASKS, SHARE, LABELS, palette=palette.voc_colours()
        )
        by_class = {item: [v - 1 for v in labels_by_item[item]] for item in sorted(items)}
        # the order of the reference: fold by fold, then image, then class
        entries = tuple(
            Entry(item, class_id)
            for fold in range(FOLDS)
            for item, present_classes in by_class.items()
            for class_id in present_classes
            if class_id // CLASSES_PER_FOLD == fold
        )
        if not entries:
            raise DataError(
                f"no image with a mask for split {split!r} below {self.root}. Next: `fssbench data verify`"
            )
        return pools.pool_from_files(entries, rule, POPULATIONS[None, split], f"pascal {split}")

    def content(self, item: str) -> str:
        """Return the VOC id, which every release and annotation keeps, or else the hash of the file."""
        stem = Path(item).stem
        return f"voc:{stem}" if _VOC_ID.fullmatch(stem) else super().content(item)

    def files(self, item: str) -> tuple[Path, ...]:
        """Return the image and its mask."""
        return self.path(f"{IMAGES}/{item}.jpg"), self.path(f"{MASKS}/{item}.png")

    def image(self, item: str) -> Image.Image:
        """Read the image, RGB."""
        return read_rgb(self.path(f"{IMAGES}/{item}.jpg"))

    def label(self, item: str) -> NDArray[np.uint8]:
        """Read the palette indices (H, W): 0 background, 1..20 classes, 255 border."""
        return read_index(self.path(f"{MASKS}/{item}.png"), LABELS, palette=palette.voc_colours())

    def mask(self, item: str, class_id: int) -> NDArray[np.uint8]:
        """Return a mask (H, W): 1 on the class, 255 on the border, 0 on background and other classes."""
        label = self.label(item)
        mask: NDArray[np.uint8] = (label == class_id + 1).astype(np.uint8)
        mask[label == IGNORE] = IGNORE
        return mask

    def shown_classes(self, item: str) -> tuple[int, ...]:
        """Return the ids of all classes of which the label has a pixel."""
        return tuple(int(value) - 1 for value in np.unique(self.label(item)) if value not in (0, IGNORE))

    def verify(self) -> Verification:
        """Check every mask and its image, and every image that the VOC lists name."""
        report = checks.start_report(self)
        masks = [n[:-4] for n in checks.list_data_files(report, MASKS, {".png"})]
        if not self.path(MASKS).is_dir() and self.path("SegmentationClass").is_dir():
            report.findings[-1] = replace(report.findings[-1], remedy="run `fssbench data prepare pascal`")
        if not self.path(IMAGES).is_dir():
            checks.add_error(report, IMAGES, "folder missing", "put the JPEGImages of VOC 2012 there")
        by_value = dict(enumerate(CLASSES, start=1))
        lists = self._read_lists(report)
        tested, listing = self._find_tested_items(lists, frozenset(masks))
        counts = dict.fromkeys(CLASSES, 0)
        for item in masks:
            mask_path = f"{MASKS}/{item}.png"
            image = checks.decode_file(report, f"{IMAGES}/{item}.jpg", "image")
            mask = checks.decode_file(report, mask_path, "mask")
            if mask is None:
                continue
            present = checks.check_indices(report, mask, mask_path, by_value, palette=palette.voc_colours())
            if image is None or not checks.check_sizes(report, image, mask, mask_path):
                continue
            for value in present:
                counts[by_value[value]] += item in tested
        self._check_lists(report, lists, frozenset(masks))
        checks.warn_of_small_classes(report, counts, listing)
        return report

    def _read_lists(self, report: Verification) -> dict[str, list[str]]:
        """Read the VOC lists that are there; a list of another form is an error."""
        lists: dict[str, list[str]] = {}
        for listing in (f"{LISTS}/{name}.txt" for name in ("val", "train", "trainaug")):
            try:
                if self.path(listing).exists():
                    lists[listing] = voc_lists.read_names(self.path(listing))
            except DataError as error:
                problem = str(error).partition(" Next: ")[0].replace(f"{self.root}/", "")
                checks.add_error(report, listing, problem, "put the list of VOC 2012 there, or remove it")
        return lists

    def _find_tested_items(
        self, lists: dict[str, list[str]], masks: frozenset[str]
    ) -> tuple[frozenset[str], str]:
        """Return the images of the tested split, and the place that names them."""
        listing = f"{LISTS}/val.txt"
        if listing in lists:
            return frozenset(lists[listing]), listing
        if self.splits is not None and (self.splits / "pascal").is_dir():
            return frozenset(name for name, _ in self._read_fold_lists(self.splits, "val")[0]), MASKS
        return masks, MASKS

    def _check_lists(self, report: Verification, lists: dict[str, list[str]], masks: frozenset[str]) -> None:
        for listing, names in lists.items():
            for item in names:
                if item not in masks:
                    remedy = "run `fssbench data prepare pascal` on the whole download"
                    checks.add_error(
                        report, f"{MASKS}/{item}.png", f"mask missing, {listing} names it", remedy
                    )
        if self.splits is not None and (self.splits / "pascal").is_dir():
            for split in SPLITS:
                pairs, others = self._read_fold_lists(self.splits, split)
                pools.warn_of_other_lists(report, others)
                wanted = list(dict.fromkeys(item for item, _ in pairs))
                missing = [item for item in wanted if item not in masks]
                checks.warn_of_missing_entries(report, f"reference list pascal/{split}", missing, len(wanted))

    @classmethod
    def prepare(cls, source: Path, data: Path) -> Iterator[str]:
        """Merge the VOC devkit and, if it is there, the SBD release."""
        return sbd.prepare(source, data / cls.card.folders[0])

    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        """Write a devkit of 40 train and 64 val images, three classes each, and prepare it."""
        root = data / cls.card.folders[0]
        miniature.write_devkit(root, seed, len(CLASSES), {"train": 40, "val": 64})
        for _ in cls.prepare(root, data):
            pass
