"""The data set that a folder of a user's own is, as its description says."""

from __future__ import annotations

import hashlib
import re
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.api import (
    BENCHMARKS,
    DataError,
    Dataset,
    DatasetCard,
    Entry,
    Pool,
    UsageError,
    Verification,
    act_on_judgements,
    open_image,
    read_rgb,
)

from ..shared import checks
from .annotations import draw_category, load_annotations
from .check import check_files
from .description import FILE, NAME, Description, Split, read_description
from .items import Item, Listing, list_items, read_split_lists
from .masks import BACKGROUND, read_labels, select_class
from .population import Holding, find_segments, hash_files_held, hash_population, scan_items
from .recognise import Choices, recognise

SPLITS: dict[str, Split] = {"trn": "train", "val": "val", "test": "test"}
"""Word of the description by name of the split."""
_MOST_LABELS = 254
"""Number of classes that a label map of 8 bits can hold."""


class OwnDataset(Dataset):
    """Images and masks in a folder.  `make_class` makes a subclass for each folder."""

    described: ClassVar[Description]
    judges_files = True

    @property
    def places(self) -> tuple[Path, ...]:
        """The folder alone: a link may not lead out of it."""
        return () if self.root is None else (self.root,)

    @property
    def files_root(self) -> Path:
        """The folder.

        Raises:
            DataError: if the data set was opened without it.
        """
        if self.root is None:
            raise DataError(
                f"data set {self.card.name!r} was opened without its folder. Next: give --data-folder"
            )
        return self.root

    def classes(self) -> dict[int, str]:
        """Return the names of the classes that are not left out."""
        return self.described.used_classes

    @cached_property
    def listing(self) -> Listing:
        """The items, and what is wrong with the files."""
        return list_items(self.files_root, self.described)

    @cached_property
    def holdings(self) -> dict[str, Holding]:
        """What each item holds; every file is read, unless it was read before and has not changed."""
        return scan_items(self.files_root, self.described, self.listing.items)

    @cached_property
    def uses(self) -> dict[str, Split]:
        """Use of each item, by the rule of the description; an image in no list has none."""
        rule, items = self.described.split, self.listing.items
        if rule.rule == "list":
            return read_split_lists(self.files_root, self.described, items)
        if rule.rule == "folder":
            return {name: item.part.split for name, item in items.items() if item.part.split is not None}
        if rule.rule == "hash":
            assert rule.test_percent is not None
            return {name: _draw_use(held.image, rule.test_percent) for name, held in self.holdings.items()}
        return dict.fromkeys(items, "test")

    def pool(self, split: str) -> Pool:
        """List the images that show each class, by class and then by path.

        Raises:
            DataError: if the folder does not hold what its description says, or a file must not be used.
            UsageError: for a split that the description does not make.
        """
        use = SPLITS.get(split)
        if use is None or use not in self._list_uses():
            known = ", ".join(name for name, each in SPLITS.items() if each in self._list_uses())
            raise UsageError(
                f"data set {self.card.name!r} has no split {split!r}; it has: {known}. Next: edit [split] in "
                f"{FILE}, or "
                f"`fssbench data adopt DIR --split hash:30`"
            )
        for problem in self.listing.problems:
            if problem.is_error:
                raise DataError(
                    f"{problem.path}: {problem.text}. Next: `fssbench data verify {self.card.name}` names all "
                    "such files"
                )
        self._require_described_files()
        entries = tuple(
            Entry(name, class_id)
            for class_id in self.classes()
            for name, held in self.holdings.items()
            if class_id in held.classes and self.uses.get(name) == use
        )
        if not entries:
            raise DataError(
                f"data set {self.card.name!r}: no image of split {split!r} shows a class. Next: "
                f"`fssbench data verify {self.card.name}`, and [split] in {FILE}"
            )
        return Pool(entries, self._describe_source(use))

    def _list_uses(self) -> set[Split]:
        """Return the uses that the rule of the split can give."""
        rule = self.described.split
        if rule.rule == "hash":
            return {"train", "test"}
        if rule.rule == "list":
            named: dict[Split, str | None] = {"train": rule.train, "val": rule.val, "test": rule.test}
            return {use for use, file in named.items() if file is not None}
        return {part.split or "test" for part in self.described.parts}

    def _require_described_files(self) -> None:
        """Refuse a folder whose files are not those that its description states."""
        stated = self.described.population
        if stated is not None and stated.sha256 != self.hash_files():
            raise DataError(
                f"data set {self.card.name!r}: the folder does not hold the files that {FILE} describes: "
                f"{self.compare_with_description()}. Next: `fssbench data adopt DIR --again` describes it anew"
            )

    def hash_files(self) -> str:
        """Return the hash of all images and masks with their names."""
        return hash_files_held(self.holdings)

    def compare_with_description(self) -> str:
        """Say how the number of images differs from the described one."""
        stated, here = self.described.population, len(self.holdings)
        if stated is None or stated.images != here:
            return f"{here:,} images, described {stated.images if stated else 0:,}"
        return f"{here:,} images as described, but the name or content of some has changed"

    def _describe_source(self, use: Split) -> str:
        rule = self.described.split
        rules = {
            "all": "every image is tested",
            "folder": f"images of the folders of {use}",
            "list": f"images of the list of {use}",
            "hash": f"images of {use}, drawn by the hash of their content, {rule.test_percent:g} % tested"
            if rule.test_percent
            else "",
        }
        digest = hash_population(self.described, self.holdings, self.uses)
        return f"own folder, {rules[rule.rule]}, by class and path; population {digest}"

    def _item(self, item: str) -> Item:
        if item not in self.listing.items:
            raise DataError(
                f"data set {self.card.name!r} has no image {item} with a mask. Next: `fssbench data verify "
                f"{self.card.name}`"
            )
        return self.listing.items[item]

    def files(self, item: str) -> tuple[Path, ...]:
        """Return the image, and its mask or the annotation file or both."""
        return tuple(self.path(file) for file in self._item(item).files)

    def image(self, item: str) -> Image.Image:
        """Read the image, RGB."""
        return read_rgb(self.path(self._item(item).image))

    def _read_labels(self, item: str) -> NDArray[np.int32]:
        """Return the class id of each pixel (H, W) of a mask file."""
        each = self._item(item)
        assert each.mask is not None
        path = self.path(each.mask)
        labels = read_labels(
            open_image(path), self.described, each.part.class_id, find_segments(self.files_root, each)
        )
        act_on_judgements(path, labels.judgements)
        assert labels.values is not None  # no values without an error
        return labels.values

    def _draw(self, item: str, class_id: int) -> NDArray[np.bool_]:
        """Return the pixels (H, W) of a class that annotations describe."""
        each, category = self._item(item), self.described.class_of(class_id).category
        assert each.record is not None
        assert category is not None
        table = load_annotations(self.path(each.truth), panoptic=False)
        return draw_category(table.images[each.record], category)

    def label(self, item: str) -> NDArray[np.uint8]:
        """Return a label map (H, W): 0 background, class id + 1, 255 ignored; the smallest region is on top.

        Raises:
            DataError: if there are more classes than a label map of 8 bits can hold.
        """
        known = self.classes()
        if max(known) >= _MOST_LABELS:
            raise DataError(
                f"data set {self.card.name!r} has class ids up to {max(known)}, which no label map of 8 bits holds; "
                "ask for mask(item, class)"
            )
        if self._item(item).mask is not None:
            labels = self._read_labels(item)
            codes = np.where(np.isin(labels, [*known]), labels + 1, 0)
            return np.where(labels < BACKGROUND, 255, codes).astype(np.uint8)
        drawn = [(class_id, self._draw(item, class_id)) for class_id in known]
        label = np.zeros(drawn[0][1].shape, dtype=np.uint8)
        for class_id, region in sorted(drawn, key=lambda row: -int(row[1].sum())):
            label[region] = class_id + 1
        return label

    def mask(self, item: str, class_id: int) -> NDArray[np.uint8]:
        """Return the mask (H, W) of a class: 0 background, 1 the class, 255 ignored.

        Raises:
            UsageError: for a class that the data set does not have.
        """
        if class_id not in self.classes():
            raise UsageError(
                f"data set {self.card.name!r} has no class {class_id}; its classes are {[*self.classes()][:20]}"
            )
        if self._item(item).mask is None:
            return self._draw(item, class_id).astype(np.uint8)
        return select_class(self._read_labels(item), class_id)

    def shown_classes(self, item: str) -> tuple[int, ...]:
        """Return the ids of all used classes of which the item has a pixel."""
        self._item(item)
        return tuple(c for c in self.holdings[item].classes if c in self.classes())

    def verify(self) -> Verification:
        """Check every file, and compare the folder with its description."""
        report = checks.start_report(self)
        check_files(report, self.described, self.listing)
        if report.ok:
            self._check_description(report)
        return report

    def _check_description(self, report: Verification) -> None:
        """Compare the files with those that the description states, and the lists with the files."""
        stated = self.described.population
        if stated is not None and stated.sha256 != self.hash_files():
            problem = (
                f"the folder does not hold the files that are described: {self.compare_with_description()}"
            )
            remedy = "look at what was added or removed, then `fssbench data adopt DIR --again`"
            checks.add_error(report, FILE, problem, remedy)
        try:
            unused = len(self.holdings) - len(self.uses)
        except DataError as error:
            checks.add_error(report, FILE, str(error).split(". Next:")[0], "correct the list, or [split]")
            return
        if unused:
            problem = f"{unused:,} images are in no list of [split] and not used"
            checks.add_warning(report, FILE, problem, "add them to a list")


def _draw_use(image: str, test_percent: float) -> Split:
    """Return the use of an image by the hash of its content: the same wherever it lies and whatever lies beside it."""
    draw = int(hashlib.sha256(f"fssbench split 1\0{image}".encode()).hexdigest()[:8], 16) / 2**32
    return "test" if draw < test_percent / 100 else "train"


def make_class(name: str | None, folder: Path) -> type[OwnDataset]:
    """Make the class of a folder, from its `dataset.toml` or else from what it holds.

    Args:
        name: name of the data set; None for that of the description.
        folder: an absolute path.

    Raises:
        UsageError: if the name is not allowed, or differs from that of the description.
        DataError: if the folder is missing, its description is wrong, or it cannot be recognised.
    """
    if not folder.is_dir():
        raise DataError(
            f"the folder {folder} of data set {name!r} is not there. Next: give its new place, --data-folder "
            f"{name}=DIR, or "
            f"`fssbench data forget {name}`"
        )
    if name is not None:
        require_free_name(name)
    description = read_description(folder)
    if description is None:
        if name is None:
            raise UsageError(
                f"{folder} holds no {FILE}, which would state the name of the data set. Next: give "
                "--data-folder NAME=DIR, "
                "or `fssbench data adopt DIR`"
            )
        description = recognise(folder, Choices(name=name))
    if name not in {None, description.name}:
        raise UsageError(
            f"{folder / FILE} names the data set {description.name!r}, not {name!r}. Next: --data-folder "
            f"{description.name}=DIR, or change `name` in the file"
        )
    require_free_name(description.name)
    return bind_class(description, folder)


def require_free_name(name: str) -> None:
    """Refuse a name that is malformed, or that of a published benchmark or data set.

    Raises:
        UsageError: if the name cannot be used.
    """
    if not re.fullmatch(NAME, name):
        raise UsageError(
            f"the name {name!r} of a data set may only contain a-z, 0-9, dots, dashes and underscores. Next: "
            "choose another"
        )
    taken = {each for benchmark in BENCHMARKS.values() for each in (benchmark.id, benchmark.target)} | {
        "mini"
    }
    if name in taken:
        raise UsageError(
            f"the name {name!r} is that of a published benchmark or data set. Next: choose another name"
        )


def bind_class(description: Description, folder: Path) -> type[OwnDataset]:
    """Make the class that reads a folder by a description."""
    card = DatasetCard(
        name=description.name,
        title=description.title,
        domain=description.domain,
        folders=(folder.name or "own",),
        url="a folder of the user",
        licence="that of the user's images",
        citation="not published",
        layout=_describe_layout(description),
        reference=False,
    )
    members = {
        "card": card,
        "described": description,
        "home": folder,
        "judges_files": True,
        "layout_folders": tuple(part.images for part in description.parts),
        "__module__": OwnDataset.__module__,
        "__doc__": f"The folder of the user's own data set {description.name}.",
    }
    return type(f"{OwnDataset.__name__}[{description.name}]", (OwnDataset,), members)


def _describe_layout(description: Description) -> str:
    lines = [f"{description.layout}, {description.encoding} masks"]
    lines += [
        f"{part.images} with {part.annotations or part.masks}" + (f" ({part.split})" if part.split else "")
        for part in description.parts
    ]
    return "\n".join(lines)
