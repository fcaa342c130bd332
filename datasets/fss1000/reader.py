"""FSS-1000: 1,000 classes with ten images each, one object per image."""

from __future__ import annotations

import hashlib
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.api import (
    DataError,
    Dataset,
    DatasetCard,
    Entry,
    OtherList,
    Pool,
    Population,
    UsageError,
    Verification,
    find_file,
    judge_binary,
    judge_list,
    list_files,
    list_folder,
    open_image,
    read_binary,
    read_rgb,
    read_size,
)

from ..shared import checks, pools
from . import miniature
from .lists import LISTS as SPLIT_LISTS

SPLITS = {"trn": (0, 520), "val": (520, 240), "test": (760, 240)}
"""First class id and number of classes of each split, in the reference numbering."""
IMAGES_PER_CLASS = 10
POPULATIONS: dict[tuple[str | None, str], Population] = {
    (None, split): Population(
        entries=classes * IMAGES_PER_CLASS,
        images=classes * IMAGES_PER_CLASS,
        images_by_class=(IMAGES_PER_CLASS,) * classes,
        source="HKUSTCV/FSS-1000: 1,000 classes of ten images, split 520, 240, 240",
    )
    for split, (_, classes) in SPLITS.items()
}
"""Published size by variant and split."""
NUMBERS = tuple(str(n) for n in range(1, IMAGES_PER_CLASS + 1))
"""Stems of a class's images and masks."""
STRAYS = frozenset(
    {
        "banana_boat/1.jpeg",
        "beam_bridge/10.jpeg",
        "flying_geckos/1.jpeg",
        "har_gow/4.jpeg",
        "pteropus/9.jpeg",
        "wandering_albatross/6.jpeg",
    }
)
"""Files of the release that belong to no pair (HKUSTCV/FSS-1000, issue 8).  They are never read."""

_PICTURES = (".jpg", ".jpeg", ".png", ".bmp")


def _is_class_folder(folder: Path, *, or_empty: bool = True) -> bool:
    """Return whether a folder holds a numbered image or mask in any format, or (`or_empty`) nothing at all."""
    listing = list_folder(folder, _PICTURES)
    if any(Path(name).stem in NUMBERS for name in listing.files):
        return True
    return or_empty and not (listing.files or listing.strangers or listing.folders)


RELEASED = ("photograph",)
"""Faults of masks that the release has and the reference thresholds: HKUSTCV/FSS-1000, issue 23, names a photograph,
and issue 8 six masks of another size, which the reference resizes.  Not all names are known, so a rule decides."""
ODD_PER_CLASS = 2
"""Odd masks of a class beyond which it is not as released: those faults lie in thirteen classes."""


def count_odd_masks(folder: Path) -> int:
    """Count the masks of a class folder that are photographs or of another size than their image."""
    count = 0
    for name in list_files(folder, ".png").values():
        try:
            mask = open_image(folder / name)
            fits = read_size(find_file((folder / name).with_suffix(".jpg"))) == mask.size
        except DataError:
            continue  # missing or damaged: every reader reports it
        count += not fits or any(j.kind in RELEASED for j in judge_binary(mask).judgements)
    return count


class FSS1000(Dataset):
    """FSS-1000: class folders with N.jpg and N.png, N = 1..10."""

    card = DatasetCard(
        name="fss1000",
        title="FSS-1000",
        domain="natural",
        folders=("FSS-1000", "FSS1000", "fewshot_data/fewshot_data", "fewshot_data", "fss1000"),
        url="https://github.com/HKUSTCV/FSS-1000",
        licence="none stated by the owners",
        citation=(
            "Li, Wei, Chen, Tai, Tang: FSS-1000: A 1000-Class Dataset for Few-Shot Segmentation. CVPR 2020"
        ),
        layout="CLASS/{1..10}.jpg with CLASS/{1..10}.png, foreground where the grey value is at least 128\n"
        "six masks of another size and one photograph in place of a mask are released so; the reference resizes and "
        "thresholds them",
    )

    list_formats = (SPLIT_LISTS,)
    judges_files = True

    @cached_property
    def _folders(self) -> frozenset[str]:
        """Class folders on disk: those that hold a numbered file, and those without any entry.

        A folder that holds other things (a nested archive, notes, results) is no class. It must not take
        a place among the classes that are tested. An empty folder is a class that lost its images.
        """
        return frozenset() if self.root is None else frozenset(self._sorted_folders[0])

    @cached_property
    def _sorted_folders(self) -> tuple[list[str], list[str]]:
        """Names of the class folders, and names of the other folders."""
        classes: list[str] = []
        others: list[str] = []
        for name in list_folder(self.path(".")).folders:
            (classes if _is_class_folder(self.path(name)) else others).append(name)
        return classes, others

    @cached_property
    def _names(self) -> tuple[dict[str, list[str]], bool]:
        """Class names by split, sorted, and whether the reference lists give them."""
        on_disk = self._folders
        if self.splits is not None and (self.splits / "fss").is_dir():
            lists = {
                split: sorted(names) for split, (names, _) in self._read_split_lists(self.splits).items()
            }
            if self.root is None or any(on_disk & set(names) for names in lists.values()):
                return lists, True
        if self.root is None:
            raise DataError(
                "data set 'fss1000' has neither files nor reference lists. Next: `fssbench data splits DIR`, "
                "or name the folder of the data sets with --data"
            )
        # without lists: a class's split follows from its name alone, test first
        ranked = sorted(on_disk, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        return {
            "test": sorted(ranked[:240]),
            "val": sorted(ranked[240:480]),
            "trn": sorted(ranked[480:1000]),
        }, False

    @staticmethod
    def _read_split_lists(splits: Path) -> dict[str, tuple[list[str], tuple[OtherList, ...]]]:
        """Return by split the class names of its list, and the list itself if it is not the reference's."""
        lists: dict[str, tuple[list[str], tuple[OtherList, ...]]] = {}
        for split, (start, _) in SPLITS.items():
            path = SPLIT_LISTS.path(splits, split)
            names = pools.read_list(SPLIT_LISTS, path)
            judgement = judge_list(SPLIT_LISTS, split, None, SPLIT_LISTS.hashed_lines(names), path)
            lists[split] = names, pools.collect_other_list(judgement, range(start, start + len(names)))
        return lists

    @classmethod
    def holds(cls, root: Path) -> bool:
        """Return whether a folder has a class folder with a numbered file below it."""
        return any(_is_class_folder(root / name, or_empty=False) for name in list_folder(root).folders)

    def classes(self) -> dict[int, str]:
        """Return the names by class id: trn from 0, val from 520, test from 760, each sorted.

        A class keeps the id its list gives it; one whose folder is not on disk is left out.
        """
        names_by_split, _ = self._names
        named = {
            start + i: name
            for split, (start, _) in SPLITS.items()
            for i, name in enumerate(names_by_split[split])
        }
        return {i: name for i, name in named.items() if self.root is None or name in self._folders}

    def pool(self, split: str) -> Pool:
        """List the entries of "trn", "val" or "test" by class, then by file name (1, 10, 2, ...)."""
        if split not in SPLITS:
            raise UsageError(f"data set 'fss1000' has no split {split!r}; known: {', '.join(SPLITS)}")
        names_by_split, from_lists = self._names
        start, _ = SPLITS[split]
        expected = POPULATIONS[None, split]
        if from_lists:
            assert self.splits is not None
            numbers = sorted(f"{n}.jpg" for n in NUMBERS)
            listed = [
                Entry(f"{c}/{n}", start + i) for i, c in enumerate(names_by_split[split]) for n in numbers
            ]
            present = frozenset(e.item for e in self._list_pairs_on_disk(names_by_split[split], start))
            pool = pools.pool_from_lists(
                listed,
                None if self.root is None else lambda e: e.item in present,
                expected,
                other_lists=self._read_split_lists(self.splits)[split][1],
            )
            missing = "none of the classes of this reference list is on disk"
        else:
            rule = "files on disk: class folders by name; test is the 240 of smallest SHA-256 of the name"
            entries = self._list_pairs_on_disk(names_by_split[split], start)
            pool = pools.pool_from_files(entries, rule, expected, f"fss1000 {split}")
            missing = "no class folder is left for it"
        if not pool.entries:
            raise DataError(
                f"split {split!r} of {self.root} is empty: {missing}. Next: `fssbench data verify fss1000`"
            )
        return pool

    def _list_pairs_on_disk(self, class_names: list[str], start: int) -> list[Entry]:
        """List the pairs on disk by class, then by file name: 1, 10, 2, ..."""
        entries: list[Entry] = []
        for offset, name in enumerate(class_names if self.root is not None else []):
            files = list_files(self.path(name), ".jpg", ".png")
            pairs = sorted(f"{n}.jpg" for n in NUMBERS if f"{n}.jpg" in files and f"{n}.png" in files)
            entries += [Entry(f"{name}/{n}", start + offset) for n in pairs]
        return entries

    def files(self, item: str) -> tuple[Path, ...]:
        """Return the image and its mask."""
        return self.path(item), self.path(self._name_mask(item))

    @staticmethod
    def _name_mask(item: str) -> str:
        return f"{item.removesuffix('.jpg')}.png"

    def resizes_mask(self, item: str) -> bool:
        """Return whether few masks of the class are odd, so that this one may be as released."""
        return self._is_released(item)

    def _is_released(self, item: str) -> bool:
        """Return whether an odd mask may be one of the release, which has few odd masks per class."""
        name = item.rpartition("/")[0]
        if name not in self._odd:
            self._odd[name] = count_odd_masks(self.path(name))
        return self._odd[name] <= ODD_PER_CLASS

    @cached_property
    def _odd(self) -> dict[str, int]:
        """Number of odd masks by class, for the classes in which one was read."""
        return {}

    def image(self, item: str) -> Image.Image:
        """Read the image, RGB."""
        return read_rgb(self.path(item))

    def label(self, item: str) -> NDArray[np.uint8]:
        """Read the foreground (H, W), 0 or 1."""
        path = self.path(self._name_mask(item))
        try:
            return read_binary(path)
        except DataError:
            if not self._is_released(item):
                raise
            return read_binary(path, released=RELEASED)

    def mask(self, item: str, class_id: int) -> NDArray[np.uint8]:
        """Read the foreground (H, W), 0 or 1; an image shows one class."""
        return self.label(item)

    def verify(self) -> Verification:
        """Check every pair of every class folder."""
        report = checks.start_report(self)
        folders, others = self._sorted_folders
        if not folders:
            checks.add_error(report, ".", "no class folder is there", f"get FSS-1000 from {self.card.url}")
        for name in list_folder(report.root).system if folders else ():
            if not name.startswith(".") and (report.root / name).is_dir():  # looks like a class
                checks.add_warning(report, name, "left behind by a system; not read", "nothing to do")
        for name in others:
            problem = "no class: it holds none of 1.jpg ... 10.jpg; not read"
            remedy = "move it elsewhere; if it is a class, get its images again"
            checks.add_warning(report, name, problem, remedy)
        published = sum(count for _, count in SPLITS.values())
        if len(folders) > published:
            problem = f"other population ({len(folders):,} classes, published {published:,})"
            remedy = (
                "move the classes that are not of the release elsewhere; without lists they change the splits"
            )
            checks.add_warning(report, ".", problem, remedy)
        counts = {name: self._verify_class(report, name) for name in folders}
        report.histogram.update(counts)
        checks.warn_of_small_classes(report, counts, ".")
        if self.splits is not None and (self.splits / "fss").is_dir():
            for split, (wanted, other) in self._read_split_lists(self.splits).items():
                pools.warn_of_other_lists(report, other)
                missing = [name for name in wanted if name not in counts]
                checks.warn_of_missing_entries(report, f"reference list fss/{split}", missing, len(wanted))
        return report

    def _verify_class(self, report: Verification, name: str) -> int:
        """Check one class folder and count its usable pairs."""
        stems = self._check_stems(report, name)
        absent = [n for n in NUMBERS if n not in stems]
        if absent:
            problem = f"{len(absent)} of {IMAGES_PER_CLASS} pairs missing: {', '.join(absent)}"
            checks.add_warning(
                report, name, problem, "get the class folder from its owner again; it counts as a sample"
            )
        usable = 0
        for stem in sorted(stems):
            image = checks.decode_file(report, f"{name}/{stem}.jpg", "image")
            mask_path = f"{name}/{stem}.png"
            mask = checks.decode_file(report, mask_path, "mask")
            if mask is None:
                continue
            released = partial(self._is_released, f"{name}/{stem}.jpg")
            filled = checks.check_binary(report, mask, mask_path, released=RELEASED, as_released=released)
            if image is not None and checks.check_sizes(report, image, mask, mask_path, as_released=released):
                usable += filled
        return usable

    @staticmethod
    def _check_stems(report: Verification, name: str) -> set[str]:
        """Return the numbers 1 to 10 of which a class has a file, and warn about every other file."""
        listing = list_folder(report.root / name, (".jpg", ".png"))
        for one, two in listing.clashes:
            checks.add_error(report, f"{name}/{one}", f"differs from {two} in nothing but case", "keep one")
        stray = [n for n in listing.strangers if f"{name}/{n}" in STRAYS]
        for file in stray:
            problem = "stray file of the release (HKUSTCV/FSS-1000, issue 8); it is not read"
            checks.add_warning(report, f"{name}/{file}", problem, "nothing to do: the release has it")
        for file in [*listing.strangers, *listing.files]:
            if file not in stray and (file in listing.strangers or Path(file).stem not in NUMBERS):
                problem = "neither N.jpg nor N.png with N from 1 to 10; it is not read"
                checks.add_warning(report, f"{name}/{file}", problem, "move it elsewhere")
        return {stem for n in listing.files if (stem := Path(n).stem) in NUMBERS}

    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        """Write twelve classes of ten pairs; without a list all of them are in split "test"."""
        miniature.write_classes(data / cls.card.folders[0], seed)
