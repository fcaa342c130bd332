"""MS COCO, as COCO-20i uses it: 80 thing classes, one index mask per image."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.api import (
    DataError,
    Dataset,
    DatasetCard,
    Entry,
    ListError,
    ListJudgement,
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

from ..shared import checks, pools
from . import instances, miniature, rasterise
from .instances import has_number, image_id
from .lists import FOLDS, LISTS as FOLD_LISTS

_SOURCE = "lists of juhongm999/hsnet, counted"
POPULATIONS: dict[tuple[str | None, str], Population] = {
    # a class is in the trn lists of three folds out of four: a third of their lengths together
    (None, "trn"): Population(entries=170_491, source=_SOURCE),
    (None, "val"): Population(entries=82_573, images=39_059, source=_SOURCE),
}
"""Published size by variant and split."""
CLASSES = [
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "fire hydrant",
    "stop sign",
    "parking meter",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "backpack",
    "umbrella",
    "handbag",
    "tie",
    "suitcase",
    "frisbee",
    "skis",
    "snowboard",
    "sports ball",
    "kite",
    "baseball bat",
    "baseball glove",
    "skateboard",
    "surfboard",
    "tennis racket",
    "bottle",
    "wine glass",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "dining table",
    "toilet",
    "tv",
    "laptop",
    "mouse",
    "remote",
    "keyboard",
    "cell phone",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
    "scissors",
    "teddy bear",
    "hair drier",
    "toothbrush",
]
LABELS = range(1, len(CLASSES) + 1)
"""Values of the classes in a mask; 0 is background, and nothing is ignored."""
SPLITS = ("trn", "val")
YEARS = ("2014", "2017")
PARTS = tuple(f"{split}{year}" for year in YEARS for split in ("train", "val"))


def _explain_missing_class(
    path: Path, lists: dict[int, list[str]], judgement: ListJudgement, class_id: int
) -> str:
    """Return the error text for a list that lacks a class of its place."""
    there = sorted(c for c, items in lists.items() if items)
    why = f": it is {judgement.problem}" if judgement.problem else ""
    if there and len(there) == there[-1] - there[0] + 1 == len(CLASSES) // FOLDS:
        why = (
            f": it holds the block of classes {there[0]} to {there[-1]}, the reference lists every fourth class. "
            "The benchmark coco20i:contiguous reads the reference lists too"
        )
    return f"{path} lists no image of class {class_id} ({CLASSES[class_id]}){why}. Next: `fssbench data splits DIR`"


class Coco(Dataset):
    """COCO with the file names of 2014 or 2017; an image is known by its number, which both releases share."""

    card = DatasetCard(
        name="coco",
        title="MS COCO",
        domain="natural",
        folders=("COCO2014", "COCO2017", "coco", "COCO"),
        url="https://cocodataset.org/#download",
        licence="annotations CC BY 4.0; images under Flickr's terms of use",
        citation=(
            "Lin, Maire, Belongie, Hays, Perona, Ramanan, Dollár, Zitnick: Microsoft COCO: Common Objects in "
            "Context. ECCV 2014"
        ),
        layout=(
            "{train,val}{2014,2017}/*.jpg; annotations/{train,val}{2014,2017}/*.png (8-bit: 0 background, "
            "1..80 "
            "categories in order of their ids). `prepare` draws them from instances_*.json; large objects "
            "lie below small ones. The masks that HSNet gives out have no known source and differ."
        ),
    )

    list_formats = (FOLD_LISTS,)
    judges_files = True
    layout_folders = tuple(f"{prefix}{part}" for prefix in ("", "annotations/") for part in PARTS)

    def classes(self) -> dict[int, str]:
        """Return the names by 0-based class id."""
        return dict(enumerate(CLASSES))

    @cached_property
    def located(self) -> dict[str, tuple[str, str]]:
        """Image and mask path, relative to the root, for every image number that has both."""
        pairs: dict[str, tuple[str, str]] = {}
        for part in PARTS:
            masks = list_files(self.path(f"annotations/{part}"), ".png")
            for name in list_files(self.path(part), ".jpg"):
                if has_number(name) and f"{name[:-4]}.png" in masks:
                    pairs.setdefault(
                        image_id(name), (f"{part}/{name}", f"annotations/{part}/{name[:-4]}.png")
                    )
        return pairs

    def pool(self, split: str) -> Pool:
        """List the entries of "trn" or "val" by class, from the reference lists or else from the masks."""
        if split not in SPLITS:
            raise UsageError(f"data set 'coco' has no split {split!r}; known: trn, val")
        listed: list[Entry] = []
        if self.splits is not None and (self.splits / "coco" / split).is_dir():
            listed, others, proven = self._read_fold_lists(self.splits, split)
            located = {} if self.root is None else self.located
            pool = pools.pool_from_lists(
                listed,
                None if self.root is None else lambda e: image_id(e.item) in located,
                POPULATIONS[None, split],
                other_lists=others,
                proven=proven,
            )
            if pool.entries:
                return pool
        if self.root is None:
            raise DataError(
                f"data set 'coco' has neither files nor reference lists of split {split!r}. Next: "
                "`fssbench data splits DIR`, or name the folder of the data sets with --data"
            )
        return self._list_from_files(split, len(listed))

    @staticmethod
    def _read_fold_lists(splits: Path, split: str) -> tuple[list[Entry], tuple[OtherList, ...], bool]:
        """Return the entries by class, the lists that are not the reference's, and whether all lists are proven.

        A val list holds the 20 classes of its fold, class c in fold c % 4; a trn list the other 60, so
        that three of them list each class: the first of these is read.
        """
        files = [FOLD_LISTS.path(splits, split, fold) for fold in range(FOLDS)]
        folds = [pools.read_list(FOLD_LISTS, path) for path in files]
        judged = [
            judge_list(FOLD_LISTS, split, fold, FOLD_LISTS.hashed_lines(lists), files[fold])
            for fold, lists in enumerate(folds)
        ]
        entries: list[Entry] = []
        affected: list[set[int]] = [set() for _ in folds]
        for class_id in range(len(CLASSES)):
            own = class_id % FOLDS
            order = [own] if split == "val" else [f for f in range(FOLDS) if f != own]
            read = next((f for f in order if folds[f].get(class_id)), None)
            if read is None:
                raise ListError(
                    _explain_missing_class(files[order[0]], folds[order[0]], judged[order[0]], class_id)
                )
            affected[read].add(class_id)
            entries += [Entry(item, class_id) for item in folds[read][class_id]]
        others = [
            o
            for j, classes in zip(judged, affected, strict=True)
            for o in pools.collect_other_list(j, classes)
        ]
        return entries, tuple(others), all(j.proven for j in judged)

    def _list_from_files(self, split: str, listed: int) -> Pool:
        prefix = "train" if split == "trn" else "val"
        part = next((f"{prefix}{y}" for y in YEARS if self.path(f"annotations/{prefix}{y}").is_dir()), None)
        if part is None:
            raise DataError(
                f"{self.root} has no index masks annotations/{prefix}2014 or annotations/{prefix}2017. Next: "
                f"`fssbench data prepare coco` makes them from instances_{prefix}*.json"
            )
        labels_by_stem = pools.scan_covered_labels(
            self.path("."), f"annotations/{part}", 0.0, LABELS, ignore=False
        )
        images = list_files(self.path(part), ".jpg")
        by_class: dict[int, list[Entry]] = {c: [] for c in range(len(CLASSES))}
        for stem, values in labels_by_stem.items():
            for value in values:
                if f"{stem}.jpg" in images:
                    by_class[value - 1].append(Entry(f"{part}/{stem}.jpg", value - 1))
        entries = tuple(entry for listed_entries in by_class.values() for entry in listed_entries)
        if not entries:
            raise DataError(f"no image with a mask in {self.root}/{part}. Next: `fssbench data verify coco`")
        rule = f"files on disk: by class, every image of {part} by name whose index mask holds the class"
        if listed:
            rule += f" (none of the {listed:,} reference entries is on disk)"
        return pools.pool_from_files(entries, rule, POPULATIONS[None, split], f"coco {split}")

    def _find_pair(self, item: str) -> tuple[str, str]:
        self.path(item)  # an error if there are only lists
        number = image_id(item)
        if number not in self.located:
            raise DataError(
                f"image {item} of data set 'coco', or its index mask, is not below {self.root} under its "
                "2014 or 2017 name. Next: `fssbench data verify coco`"
            )
        return self.located[number]

    def content(self, item: str) -> str:
        """Return the image's number, which the releases of 2014 and 2017 share."""
        return f"coco:{image_id(item)}"

    def aliases(self, item: str) -> tuple[str, ...]:
        """Return the names of the image in every part of both releases."""
        number = image_id(item)
        stems = (number, f"COCO_train2014_{number}", f"COCO_val2014_{number}")
        parts = [f"{split}{year}" for split in ("train", "val") for year in YEARS]
        return tuple(f"{part}/{stem}.jpg" for part in parts for stem in stems)

    def files(self, item: str) -> tuple[Path, ...]:
        """Return the image and its mask."""
        image, mask = self._find_pair(item)
        return self.path(image), self.path(mask)

    def image(self, item: str) -> Image.Image:
        """Read the image, RGB."""
        return read_rgb(self.path(self._find_pair(item)[0]))

    def label(self, item: str) -> NDArray[np.uint8]:
        """Read the category indices (H, W): 0 background, 1..80."""
        return read_index(self.path(self._find_pair(item)[1]), LABELS, ignore=False)

    def mask(self, item: str, class_id: int) -> NDArray[np.uint8]:
        """Return a mask (H, W) with 1 on the class and 0 elsewhere; COCO ignores no pixel."""
        mask: NDArray[np.uint8] = (self.label(item) == class_id + 1).astype(np.uint8)
        return mask

    def shown_classes(self, item: str) -> tuple[int, ...]:
        """Return the ids of all classes of which the label has a pixel."""
        return tuple(int(value) - 1 for value in np.unique(self.label(item)) if value != 0)

    def verify(self) -> Verification:
        """Check every image and index mask, and compare them with the annotation files."""
        report = checks.start_report(self)
        there = [p for p in PARTS if self.path(p).is_dir() or self.path(f"annotations/{p}").is_dir()]
        if not there:
            checks.add_error(
                report, ".", f"none of {', '.join(PARTS)} is there", "put COCO's image folders there"
            )
        for part in there:
            self._verify_part(report, part)
        for split in SPLITS:
            if self.splits is not None and (self.splits / "coco" / split).is_dir():
                pools.warn_of_other_lists(report, self._read_fold_lists(self.splits, split)[1])
        return report

    def _verify_part(self, report: Verification, part: str) -> None:
        images = {n[:-4]: f"{part}/{n}" for n in checks.list_data_files(report, part, {".jpg"})}
        prepared = self.path(f"annotations/{part}").is_dir()
        masks: set[str] = set()
        if prepared:
            masks = {n[:-4] for n in checks.list_data_files(report, f"annotations/{part}", {".png"})}
        else:
            remedy = "run `fssbench data prepare coco`; it draws them from the annotation file"
            checks.add_error(
                report, f"annotations/{part}", f"index masks of {len(images):,} images missing", remedy
            )
        by_value = dict(enumerate(CLASSES, start=1))
        counts = dict.fromkeys(CLASSES, 0)
        stems = {image_id(name): stem for stem, name in images.items() if has_number(name)}
        record = {stems.get(n, n): size for n, size in self._read_annotated_sizes(report, part).items()}
        for stem in sorted({*images, *masks, *record}):
            image = checks.decode_file(report, images.get(stem, f"{part}/{stem}.jpg"), "image")
            if image is not None and record.get(stem, image.size) != image.size:
                problem = f"image is {image.size[0]}x{image.size[1]}, its annotations are for {record[stem]}"
                checks.add_error(report, images[stem], problem, "get the image from COCO again")
            mask_path = f"annotations/{part}/{stem}.png"
            mask = checks.decode_file(report, mask_path, "mask") if prepared else None
            if mask is None:
                continue
            present = checks.check_indices(report, mask, mask_path, by_value, ignore=False)
            if image is not None and checks.check_sizes(report, image, mask, mask_path):
                for value in present:
                    counts[by_value[value]] += 1
        if prepared and part.startswith("val"):
            checks.warn_of_small_classes(report, counts, f"annotations/{part}")

    def _read_annotated_sizes(self, report: Verification, part: str) -> dict[str, tuple[int, int]]:
        """Return width and height by image number from a part's annotation file; empty without one."""
        relative = f"annotations/instances_{part}.json"
        path = self.path(relative)
        if not path.is_file():
            return {}
        try:
            content = instances.load_tables(path)
            instances.read_categories(content, CLASSES, path)
        except DataError as error:
            checks.add_error(report, relative, f"annotation file unusable: {error}", "get it from COCO again")
            return {}
        problems: list[str] = []
        records = instances.check_images(content["images"], problems)
        for problem in problems:
            checks.add_error(
                report, relative, problem, "correct this record, or get the file from COCO again"
            )
        return {image_id(r["file_name"]): (r["width"], r["height"]) for r in records.values()}

    @classmethod
    def prepare(cls, source: Path, data: Path) -> Iterator[str]:
        """Draw index masks from `instances_*.json`; polygons need the extra `coco` (pycocotools)."""
        return rasterise.prepare(source, data, CLASSES)

    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        """Write 40 train and 96 val images in 2017 naming, six of the 80 classes each, and prepare them."""
        root = data / "COCO2017"
        miniature.write_release(root, seed, CLASSES, {"train2017": 40, "val2017": 96})
        for _ in cls.prepare(root, data):
            pass
