"""SUIM, underwater scenes: the colour-coded download, or one folder of binary masks per class.

Class ids follow the folder names in alphabetical order, as ABCDFSS reads them: FV 0, HD 1, PF 2, RI 3,
RO 4, SR 5, WR 6.  It leaves out the open water (BW); variant `suim8` adds it as id 7, because the paper
speaks of eight classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, cached_property, partial
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
    read_codes,
    read_grey,
    read_rgb,
    read_size,
)

from ..shared import checks
from ..shared.pairs import warn_of_files, warn_of_other_size
from ..shared.placing import place_file, refuse_problems
from ..shared.staging import stage_folder
from .checks import check_source, find_images_without_mask
from .miniature import draw_files
from .scan import (
    CODES,
    MAY_BE,
    PARTS,
    Source,
    find_image_twins,
    find_name_twins,
    find_sources,
    is_raw,
    list_class_folders,
    list_sources,
    scan_classes,
)

POPULATIONS: dict[tuple[str | None, str], Population] = {
    ("suim7", "test"): Population(entries=3_859, source="Vision-Kek/ABCDFSS, merged form, counted"),
    # with open water every image shows a class; nobody states how many entries that makes
    ("suim8", "test"): Population(
        images=1_635, source="xahidbuffon/SUIM: 1,525 images for training and validation, 110 for test"
    ),
}
"""Published size by variant and split."""
NAMES = {
    "FV": "fish and vertebrates",
    "HD": "human diver",
    "PF": "plants and sea grass",
    "RI": "reef and invertebrates",
    "RO": "robot",
    "SR": "sea floor and rock",
    "WR": "wreck",
    "BW": "open water",
}

OTHER_SIZES = 100
"""Masks of another size than their image, beyond which this is not the release: it has about 83
(xahidbuffon/Awesome_Underwater_Datasets, issue 1).  ABCDFSS resizes the masks it reads."""


def is_released(root: Path) -> bool:
    """Return whether no more masks differ in size from their image than in the release, judged by all file headers."""
    count = 0
    for source in list_sources(root):
        masks = [source.coded] if source.coded is not None else [name for _, name in source.binary]
        try:
            sizes = {read_size(find_file(root / name)) for name in (source.item, *masks)}
        except DataError:
            continue  # missing or damaged: every reader reports it
        count += len(sizes) > 1
    return count <= OTHER_SIZES


def _split(root: Path, source: Source, folder: Path) -> None:
    """Write one image and its binary masks, one per class that it shows."""
    assert source.coded is not None
    image = find_file(root / source.item)
    if not image.is_file():
        raise DataError(f"suim: {root / source.coded} has no image {source.item}; get the pair again")
    codes = read_codes(find_file(root / source.coded))
    place_file(image, folder / "images" / image.name)
    for name, code in CODES.items():
        region = codes == code
        if region.any():
            binary = (region * 255).astype(np.uint8)
            Image.fromarray(binary).save(folder / "masks" / name / f"{image.stem}.png")


class SUIM(Dataset):
    """Underwater images; an entry is an image and a class with at least one pixel in it."""

    card = DatasetCard(
        name="suim",
        title="SUIM",
        domain="underwater",
        folders=("SUIM", "suim"),
        url="https://irvlab.cs.umn.edu/resources/suim-dataset",
        licence="MIT, as stated in xahidbuffon/SUIM",
        citation="M. J. Islam et al., Semantic Segmentation of Underwater Imagery: Dataset and Benchmark, "
        "IROS 2020",
        layout="images/*.jpg with masks/*.bmp, RGB codes, also below train_val/ and TEST/; or\n"
        "images/*.jpg with masks/{FV,HD,PF,RI,RO,SR,WR,BW}/*, grey >= 128 is the folder's class\n"
        "about 83 masks differ in size from their images and some have soft edges; ABCDFSS resizes and thresholds them",
        variants=("suim7", "suim8"),
        reference=False,
    )

    judges_files = True
    layout_folders = (
        *(f"{part}{kind}" for part in PARTS for kind in ("images", "masks")),
        *(f"masks/{name}" for name in CODES),
    )

    @classmethod
    def holds(cls, root: Path) -> bool:
        """Return whether folders `images` and `masks` are there side by side."""
        return any((root / f"{p}images").is_dir() and (root / f"{p}masks").is_dir() for p in PARTS)

    def classes(self) -> dict[int, str]:
        """Return seven classes, and open water in `suim8`."""
        return {i: NAMES[name] for i, name in enumerate(self._folders())}

    def _folders(self) -> tuple[str, ...]:
        return tuple(name for name in CODES if name != "BW" or self.variant == "suim8")

    def _sources(self) -> list[Source]:
        return find_sources(self.path("."))

    def pool(self, split: str) -> Pool:
        """List (image, class) entries by class, then by file name; train and test images are merged."""
        if split != "test":
            raise UsageError(f"data set 'suim' has no split {split!r}; it has: test")
        sources = self._sources()
        classes = scan_classes(self.path("."), sources)
        entries = tuple(
            Entry(source.item, class_id)
            for class_id, name in enumerate(self._folders())
            for source in sources
            if name in classes[source.item]
        )
        return Pool(
            entries,
            "files on disk: images with a non-empty mask of the class, by file name, train and test merged",
            population=POPULATIONS[self.variant, split],
        )

    def files(self, item: str) -> tuple[Path, ...]:
        """Return the image and its colour-coded mask, or its masks, one per class."""
        source = self._source(item)
        masks = [source.coded] if source.coded is not None else [name for _, name in source.binary]
        return self.path(item), *(self.path(mask) for mask in masks)

    def image(self, item: str) -> Image.Image:
        """Read the image, RGB."""
        return read_rgb(self.path(item))

    def label(self, item: str) -> NDArray[np.uint8]:
        """Read the colour codes 0..7, red the highest bit (0 open water, 1 diver, ... 7 sea floor).

        Raises:
            DataError: in the per-class layout, whose masks may overlap and are no label map.
        """
        coded = self._source(item).coded
        if coded is None:
            raise DataError(
                f"suim: {item} has one binary mask per class, no label map; ask for mask(item, class)"
            )
        return read_codes(self.path(coded))

    def mask(self, item: str, class_id: int) -> NDArray[np.uint8]:
        """Read the 0/1 mask of one class."""
        if class_id not in self.classes():
            raise UsageError(
                f"suim ({self.variant}) has no class {class_id}; it has 0..{len(self._folders()) - 1}"
            )
        source, name = self._source(item), self._folders()[class_id]
        if source.coded is not None:
            return np.asarray(self.label(item) == CODES[name], dtype=np.uint8)
        mask = dict(source.binary).get(name)
        if mask is None:
            raise DataError(f"suim: {item} has no mask file in masks/{name}")
        return (read_grey(self.path(mask), expected=MAY_BE) >= THRESHOLD).astype(np.uint8)

    def resizes_mask(self, item: str) -> bool:
        """Return whether no more masks differ in size from their image than in the release."""
        return self._as_released

    @cached_property
    def _as_released(self) -> bool:
        return is_released(self.path("."))

    @cached_property
    def _index(self) -> dict[str, Source]:
        return {source.item: source for source in self._sources()}

    def _source(self, item: str) -> Source:
        if item not in self._index:
            raise DataError(f"suim: {item} is not an image with a mask in {self.root}")
        return self._index[item]

    def verify(self) -> Verification:
        """Check every image and mask of the layout that is read."""
        report = checks.start_report(self)
        sources = list_sources(report.root)
        if not sources:
            checks.add_error(
                report, "masks", "no mask in any layout", "put masks/*.bmp and images/*.jpg there"
            )
        for one, two in [*find_name_twins(sources), *find_image_twins(report.root)]:
            checks.add_error(report, one, f"the same name as {two}", "keep one of them")
        if is_raw(report.root) and list_class_folders(report.root):
            problem = "colour-coded masks and class folders side by side; the colour-coded ones are read"
            checks.add_warning(report, "masks", problem, "move one of the two away")
        counts = dict.fromkeys(CODES, 0)
        for source in sources:
            for name in check_source(report, source, lambda: self._as_released):
                counts[name] += 1
        orphans = find_images_without_mask(report.root, sources)
        warn_of_files(report, "images", orphans, "no mask; never drawn", "get the masks again")
        report.histogram = {NAMES[name]: count for name, count in counts.items()}
        used = {NAMES[name]: counts[name] for name in self._folders()}
        checks.warn_of_small_classes(report, used, "masks")
        warn_of_other_size(report, "masks", self, "(image, class) entries")
        return report

    @classmethod
    def prepare(cls, source: Path, data: Path) -> Iterator[str]:
        """Turn colour-coded masks into one folder of binary PNGs per class, train and test merged.

        Only masks with at least one pixel are written: an entry is an image and a class it holds.
        """
        if not is_raw(source):
            raise DataError(
                f"suim: no colour-coded mask in {source}: looked in masks/, train_val/masks/, TEST/masks/. "
                f"Per-class folders are read as they are; put them at {data / cls.card.folders[0]}"
            )
        sources = find_sources(source)
        report = Verification(dataset="suim", root=source)
        resizes_mask = cache(partial(is_released, source))
        for one in sources:
            check_source(report, one, resizes_mask)
        problems = [f"{f.path}: {f.problem}" for f in report.findings if f.level == "error"]
        refuse_problems(f"suim: {len(problems):,} faults in {source}", problems, "get these files again")
        target = data / cls.card.folders[0]
        with stage_folder(target) as folder:
            for name in ("images", *(f"masks/{name}" for name in CODES)):
                (folder / name).mkdir(parents=True)
            for number, one in enumerate(sources, 1):
                _split(source, one, folder)
                if number % 100 == 0 or number == len(sources):
                    yield f"image {number}/{len(sources)}"
        yield f"{len(sources)} images in {target}"

    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        """Write underwater scenes with colour-coded masks."""
        with stage_folder(data / cls.card.folders[0]) as folder:
            draw_files(folder, seed)
