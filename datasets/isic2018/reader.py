"""ISIC 2018 lesion boundaries: as one class, or by lesion folders as PATNet reads them."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
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
    list_files,
    read_grey,
    read_rgb,
    read_text,
)

from ..shared import checks
from ..shared.pairs import check_pair, warn_of_files, warn_of_other_size
from ..shared.placing import place_file
from ..shared.staging import make_scratch_folder, stage_folder
from .miniature import draw_files

POPULATIONS: dict[tuple[str | None, str], Population] = {
    ("isic1", "test"): Population(entries=2_594, images=2_594, source="training images of ISIC 2018, task 1"),
    ("isic3", "test"): Population(
        entries=2_594,
        images=2_594,
        images_by_class=(1_867, 519, 208),
        source="slei109/PATNet, data/isic/class_id.csv: nevus, melanoma, seborrheic keratosis",
    ),
}
"""Published size by variant and split."""
IMAGES = "ISIC2018_Task1-2_Training_Input"
MASKS = "ISIC2018_Task1_Training_GroundTruth"
FOLDERS = ("1", "2", "3")
TABLE = "class_id.csv"
DISEASES = ("nevus", "melanoma", "seborrheic_keratosis")
"""Diseases of the folders 1, 2, 3 that `prepare` makes."""

_SORT = "sort them with `fssbench data prepare isic2018`, or use the variant isic1"


def read_table(path: Path) -> dict[str, str]:
    """Read the disease by image id from the first two columns of a csv file with or without a header.

    Raises:
        DataError: if there is no table, or a row names no known disease.
    """
    try:
        text = read_text(path, latin1=True)
    except OSError as error:
        raise DataError(
            f"isic2018: cannot read {path} ({error.strerror}). It is not part of the 2018 task download: a csv with "
            f"the columns image id, class ({', '.join(DISEASES)}), such as PATNet's data/isic/{TABLE}. "
            "The variant isic1 needs neither table nor preparing"
        ) from None
    table: dict[str, str] = {}
    lines = [line for line in enumerate(text.split("\n"), start=1) if line[1].strip()]
    for number, line in lines:
        row = next(csv.reader([line], delimiter=_find_delimiter(lines[0][1])))
        if len(row) < 2 or not row[0].strip().startswith("ISIC_"):
            if number > lines[0][0] or line.strip().startswith("ISIC_"):
                raise DataError(f"isic2018: line {number} of {path} is not `ISIC_<id>,<class>`: {line!r}")
            continue
        disease = row[1].strip().lower().replace(" ", "_").replace("-", "_")
        if disease not in DISEASES:
            raise DataError(
                f"isic2018: line {number} of {path} names class {row[1]!r}; known: {', '.join(DISEASES)}"
            )
        image = Path(row[0].strip()).stem
        if table.setdefault(image, disease) != disease:
            raise DataError(
                f"isic2018: line {number} of {path} says {disease} for {image}, a line before it {table[image]}"
            )
    return table


def _find_delimiter(line: str) -> str:
    """Return the delimiter of a table, judged by its first line: some programs write `;` in place of the comma."""
    return next((delimiter for delimiter in ",;\t" if delimiter in line), ",")


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

    judges_files = True
    layout_folders = (IMAGES, MASKS, *(f"{IMAGES}/{name}" for name in FOLDERS))

    def classes(self) -> dict[int, str]:
        """Return the class `lesion`, or one class per folder.  PATNet does not name the diseases of the folders."""
        if self.variant == "isic1":
            return {0: "lesion"}
        return {i: f"lesion folder {name}" for i, name in enumerate(FOLDERS)}

    def pool(self, split: str) -> Pool:
        """List all images by file name (`isic1`), or by folder and then by name (`isic3`)."""
        if split != "test":
            raise UsageError(f"data set 'isic2018' has no split {split!r}; it has: test")
        return self._one_class() if self.variant == "isic1" else self._by_folder()

    def _one_class(self) -> Pool:
        places = [IMAGES, *(f"{IMAGES}/{f}" for f in FOLDERS)]
        items = [
            (name, f"{place}/{name}") for place in places for name in list_files(self.path(place), ".jpg")
        ]
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
        rule = "files on disk: *.jpg sorted by file name, all one class"
        return Pool(entries, rule, population=POPULATIONS[self.variant, "test"])

    def _by_folder(self) -> Pool:
        entries: list[Entry] = []
        for class_id, name in enumerate(FOLDERS):
            images = list_files(self.path(f"{IMAGES}/{name}"), ".jpg")
            if not images:
                raise DataError(
                    f"isic2018: variant isic3 needs {IMAGES}/1, /2 and /3 below {self.root}, "
                    f"one lesion class each; folder {name} is missing or empty. The class table is not part "
                    "of the 2018 task download, and PATNet does not state which folder is which disease. "
                    "Next: `fssbench data prepare isic2018` with a class_id.csv beside the images, "
                    "or use the variant isic1"
                )
            entries += [Entry(f"{IMAGES}/{name}/{image}", class_id) for image in images]
        rule = "files on disk: folders 1, 2, 3, each sorted by name"
        return Pool(tuple(entries), rule, population=POPULATIONS[self.variant, "test"])

    def files(self, item: str) -> tuple[Path, ...]:
        """Return the image and its mask."""
        return self.path(item), self.path(self._mask_of(item))

    def image(self, item: str) -> Image.Image:
        """Read the dermoscopic image, RGB."""
        return read_rgb(self.path(item))

    def label(self, item: str) -> NDArray[np.uint8]:
        """Read the grey values of the lesion mask."""
        return read_grey(self.path(self._mask_of(item)))

    def mask(self, item: str, class_id: int) -> NDArray[np.uint8]:
        """Read the 0/1 lesion mask; it belongs to the image's only class.

        Raises:
            UsageError: for a class other than the image's.
        """
        if class_id not in self.classes():
            raise UsageError(f"isic2018 ({self.variant}) has no class {class_id}; it has {[*self.classes()]}")
        if self.variant == "isic3" and f"/{FOLDERS[class_id]}/" not in item:
            raise UsageError(f"isic2018: {item} is not of class {class_id}; its folder is its class + 1")
        return (self.label(item) >= THRESHOLD).astype(np.uint8)

    @staticmethod
    def _mask_of(item: str) -> str:
        return f"{MASKS}/{Path(item).stem}_segmentation.png"

    def verify(self) -> Verification:
        """Check every image and its mask."""
        report = checks.start_report(self)
        flat = checks.list_data_files(report, IMAGES, {".jpg"})
        by_place = {IMAGES: flat}
        for name in FOLDERS:
            if self.variant == "isic3" or (report.root / IMAGES / name).is_dir():
                by_place[f"{IMAGES}/{name}"] = checks.list_data_files(report, f"{IMAGES}/{name}", {".jpg"})
        if self.variant == "isic3":
            warn_of_files(
                report, IMAGES, flat, "outside the folders 1, 2, 3; isic3 does not read them", _SORT
            )
        self._look(report, by_place)
        names = [name for listed in by_place.values() for name in listed]
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        for name in twice:
            checks.add_error(report, IMAGES, f"{name} lies in more than one folder", "keep one copy")
        stems = {f"{Path(name).stem}_segmentation.png" for name in names}
        orphans = [m for m in checks.list_data_files(report, MASKS, {".png"}) if m not in stems]
        warn_of_files(report, MASKS, orphans, "no image of that name", "get the images again")
        checks.warn_of_small_classes(report, report.histogram, IMAGES)
        warn_of_other_size(report, IMAGES, self, "images")
        return report

    def _look(self, report: Verification, by_place: dict[str, list[str]]) -> None:
        """Check all pairs and count the usable ones by class."""
        for folder, names in by_place.items():
            usable = sum(check_pair(report, f"{folder}/{name}", self._mask_of(name)) for name in names)
            if self.variant == "isic1":
                report.histogram["lesion"] = report.histogram.get("lesion", 0) + usable
            elif folder != IMAGES:
                report.histogram[f"lesion folder {folder[-1]}"] = usable

    @classmethod
    def prepare(cls, source: Path, data: Path) -> Iterator[str]:
        """Sort the download into folders 1, 2, 3 by `class_id.csv` (image id, class) in `source`.

        The folders are 1 nevus, 2 melanoma, 3 seborrheic keratosis, as DMTNet and GF-SAM have them.
        PATNet, whose table it is, does not say; other numberings give other episodes.
        """
        table = read_table(source / TABLE)
        images = {
            Path(name).stem: source / IMAGES / on_disk
            for name, on_disk in list_files(source / IMAGES, ".jpg").items()
        }
        masks = {
            name: source / MASKS / on_disk for name, on_disk in list_files(source / MASKS, ".png").items()
        }
        if not images:
            raise DataError(
                f"isic2018: no .jpg in {source / IMAGES}. Next: give the folder that holds {IMAGES}"
            )
        for what, wrong in (
            (f"images not in {TABLE}", [i for i in images if i not in table]),
            (f"rows of {TABLE} without an image", [i for i in table if i not in images]),
            ("images without a mask", [i for i in images if f"{i}_segmentation.png" not in masks]),
        ):
            if wrong:
                raise DataError(f"isic2018: {len(wrong)} {what} in {source}, such as {sorted(wrong)[0]}")
        target = data / cls.card.folders[0]
        with stage_folder(target) as folder:
            for name in (*(f"{IMAGES}/{f}" for f in FOLDERS), MASKS):
                (folder / name).mkdir(parents=True)
            for stem, path in images.items():
                place_file(path, folder / IMAGES / FOLDERS[DISEASES.index(table[stem])] / path.name)
                mask = masks[f"{stem}_segmentation.png"]
                place_file(mask, folder / MASKS / mask.name)
        for number, disease in zip(FOLDERS, DISEASES, strict=True):
            yield f"folder {number}: {sum(v == disease for v in table.values())} images, {disease}"
        yield f"{len(images)} images in {target}"

    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        """Write lesions of three looks with their class table, and sort them: both variants can read it."""
        with make_scratch_folder(data) as folder:
            draw_files(folder, seed)
            for _ in cls.prepare(folder, data):
                pass
