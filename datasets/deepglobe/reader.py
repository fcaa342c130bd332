"""DeepGlobe land cover, cut into patches as the PATNet reference does."""

from __future__ import annotations

import re
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
)

from ..shared import checks
from ..shared.pairs import check_pair, warn_of_files, warn_of_other_size
from ..shared.staging import make_scratch_folder, stage_folder
from .miniature import draw_files
from .patches import CLASSES, RAREST, check_tiles, cut_tile, find_tiles

POPULATIONS: dict[tuple[str | None, str], Population] = {
    # the published script gives about 9,174 patches, and no list of either number exists
    (None, "test"): Population(entries=5_666, least=True, source="the PATNet paper"),
}
"""Published size by variant and split."""
_AGAIN = "cut the download again with `fssbench data prepare deepglobe`"
_PATCH_NAME = re.compile(r"\d+_sat_[0-5][0-5]\.jpg")
MAY_BE = ("inverted",)
"""Land of a class may surround other land in a patch."""


class DeepGlobe(Dataset):
    """Satellite land cover with one folder per class; a patch lies in the folder of each class that it shows."""

    card = DatasetCard(
        name="deepglobe",
        title="DeepGlobe",
        domain="satellite",
        folders=("Deepglobe", "DeepGlobe", "deepglobe"),
        url="https://deepglobe.org",
        licence="DigitalGlobe Internal Use License (research and education), see the DeepGlobe rules",
        citation="I. Demir et al., DeepGlobe 2018: A Challenge to Parse the Earth through Satellite Images, "
        "CVPR Workshops 2018",
        layout="{1..6}/test/origin/<tile>_sat_<ij>.jpg\n"
        "{1..6}/test/groundtruth/<tile>_sat_<ij>.png   grey >= 128 is the folder's class\n"
        "`data prepare` makes it from <tile>_sat.jpg and <tile>_mask.png of the land-cover download.\n"
        "The paper states 5,666 patches, the published script yields about 9,174, and no list of either "
        "exists: fewer than 5,666 are a sample, more prove nothing",
    )

    judges_files = True
    layout_folders = tuple(
        f"{number}/test/{part}" for number in range(1, len(CLASSES) + 1) for part in ("origin", "groundtruth")
    )

    def classes(self) -> dict[int, str]:
        """Return the six land-cover classes; `unknown` (black) is not one of them."""
        return dict(enumerate(CLASSES))

    def pool(self, split: str) -> Pool:
        """List all patches by class folder, then by name, as a sorted listing of `origin` gives them."""
        if split != "test":
            raise UsageError(f"data set 'deepglobe' has no split {split!r}; it has: test")
        entries: list[Entry] = []
        for class_id in range(len(CLASSES)):
            folder = f"{class_id + 1}/test/origin"
            names = list_files(self.path(folder), ".jpg")
            if not names:
                raise DataError(
                    f"deepglobe: no .jpg in {self.path(folder)} (class {CLASSES[class_id]}). "
                    "Next: `fssbench data prepare deepglobe` on the land-cover download"
                )
            entries += [Entry(f"{folder}/{name}", class_id) for name in names]
        return Pool(
            tuple(entries),
            "files on disk: <class folder>/test/origin/*.jpg sorted by name; no reference list exists",
            population=POPULATIONS[None, split],
        )

    def files(self, item: str) -> tuple[Path, ...]:
        """Return the image and its mask."""
        return self.path(item), self.path(self._mask_of(item))

    def image(self, item: str) -> Image.Image:
        """Read the patch, RGB."""
        return read_rgb(self.path(item))

    def label(self, item: str) -> NDArray[np.uint8]:
        """Read the grey values of the patch's mask for the class of its folder."""
        return read_grey(self.path(self._mask_of(item)), expected=MAY_BE)

    def mask(self, item: str, class_id: int) -> NDArray[np.uint8]:
        """Read the 0/1 mask of the folder's class.

        Raises:
            UsageError: for a class other than the folder's, of which the file says nothing.
        """
        if not item.startswith(f"{class_id + 1}/"):
            raise UsageError(
                f"deepglobe: {item} holds no mask of class {class_id}; its folder is its class + 1"
            )
        return (self.label(item) >= THRESHOLD).astype(np.uint8)

    @staticmethod
    def _mask_of(item: str) -> str:
        return item.replace("/origin/", "/groundtruth/").removesuffix(".jpg") + ".png"

    def verify(self) -> Verification:
        """Check every patch and mask, folder by folder."""
        report = checks.start_report(self)
        odd: list[str] = []
        total = 0
        for class_id, name in enumerate(CLASSES):
            folder = f"{class_id + 1}/test"
            patches = checks.list_data_files(report, f"{folder}/origin", {".jpg"})
            masks = checks.list_data_files(report, f"{folder}/groundtruth", {".png"})
            usable = 0
            for patch in patches:
                item = f"{folder}/origin/{patch}"
                usable += check_pair(report, item, self._mask_of(item), expected=MAY_BE)
                if not _PATCH_NAME.fullmatch(patch):
                    odd.append(item)
            stems = {Path(patch).stem for patch in patches}
            orphans = [mask for mask in masks if Path(mask).stem not in stems]
            warn_of_files(report, f"{folder}/groundtruth", orphans, "no patch of that name", _AGAIN)
            report.histogram[name] = usable
            total += len(patches)
        warn_of_files(report, ".", odd, "not named <tile>_sat_<ij>.jpg", _AGAIN)
        checks.warn_of_small_classes(report, report.histogram, ".")
        warn_of_other_size(report, ".", self, "patches")
        return report

    @classmethod
    def prepare(cls, source: Path, data: Path) -> Iterator[str]:
        """Cut `<tile>_sat.jpg` and `<tile>_mask.png` into 6x6 patches, filtered and sorted by class.

        The reference writes its patches with OpenCV's JPEG encoder, this with Pillow's at quality 95:
        same patches, same names, other bytes.
        """
        pairs = find_tiles(source)
        check_tiles(pairs)

        target = data / cls.card.folders[0]
        with stage_folder(target) as folder:
            written = 0
            for number, (image, mask) in enumerate(pairs, 1):
                line, count = cut_tile(image, mask, folder)
                written += count
                yield f"tile {number}/{len(pairs)}: {line}"
            if written == 0:
                raise DataError(
                    f"deepglobe: no patch of the {len(pairs)} tiles in {source} passes the filter: each is of one "
                    f"colour, or its rarest colour covers {RAREST:.1%} or less. Nothing was written"
                )
        yield f"{written} (patch, class) entries from {len(pairs)} tiles in {target}"

    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        """Write aerial tiles of half the published side and cut them into patches."""
        with make_scratch_folder(data) as folder:
            draw_files(folder, seed)
            for _ in cls.prepare(folder, data):
                pass
