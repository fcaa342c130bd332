"""A data set with one folder per class, which holds images and masks of the same names."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
from fssbench.api import (
    DataError,
    Dataset,
    DatasetCard,
    Entry,
    Finding,
    Pool,
    UsageError,
    Verification,
    list_files,
    read_binary,
    read_rgb,
)
from numpy.typing import NDArray
from PIL import Image

CLASSES = ("disc", "square")
"""Names of the folders; their places in this list are the ids of the classes."""


class Mine(Dataset):
    """Reads `CLASS/images/NAME.jpg` (or .png) with `CLASS/masks/NAME.png`; an item is named `CLASS/NAME.jpg`."""

    card = DatasetCard(
        name="mine",
        title="Mine",
        domain="drawings",
        folders=("mine",),
        url="none",
        licence="none",
        citation="unpublished",
        layout="CLASS/images/NAME.jpg or NAME.png: RGB; CLASS/masks/NAME.png: 0 background, 255 the class",
    )
    layout_folders = CLASSES

    def classes(self) -> dict[int, str]:
        """Return the name of each class by its id."""
        return dict(enumerate(CLASSES))

    def pool(self, split: str) -> Pool:
        """List the pairs of image and class from which episodes are drawn."""
        if split != "test":
            raise UsageError(f"data set {self.card.name!r} has no split {split!r}. Allowed: test")
        entries = [
            Entry(f"{name}/{file}", class_id)
            for class_id, name in self.classes().items()
            for file in list_files(self.path(f"{name}/images"), ".jpg", ".jpeg", ".png")
        ]
        return Pool(tuple(entries), "files on disk, sorted by name")

    def files(self, item: str) -> tuple[Path, ...]:
        """Return the files of an item, the image first; their bytes identify a run."""
        name, file = item.split("/")
        mask = PurePosixPath(file).with_suffix(".png")
        return self.path(f"{name}/images/{file}"), self.path(f"{name}/masks/{mask}")

    def image(self, item: str) -> Image.Image:
        """Return the image in mode RGB."""
        return read_rgb(self.files(item)[0])

    def label(self, item: str) -> NDArray[np.uint8]:
        """Return the mask as it is stored, (H, W), with 0 and 1 for the values 0 and 255."""
        return read_binary(self.files(item)[1])

    def mask(self, item: str, class_id: int) -> NDArray[np.uint8]:
        """Return the mask (H, W) of one class: 0 background, 1 the class; 255 would be ignored."""
        return self.label(item)

    def verify(self) -> Verification:
        """Read every file, and report those that are missing, damaged or wrongly encoded."""
        report = Verification(self.card.name, self.path(""))
        for entry in self.pool("test").entries:
            name = self.classes()[entry.class_id]
            report.histogram[name] = report.histogram.get(name, 0) + 1
            try:
                self.image(entry.item)
                report.images += 1
                self.label(entry.item)
                report.masks += 1
            except DataError as error:
                report.findings.append(Finding("error", entry.item, str(error), "copy the file again"))
        return report

    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        """Draw 12 small pictures per class in this layout, for `fssbench check` and `--data mini`."""
        random = np.random.default_rng(seed)
        y, x = np.mgrid[:64, :64]
        for class_id, name in enumerate(CLASSES):
            images, masks = (data / cls.card.folders[0] / name / kind for kind in ("images", "masks"))
            images.mkdir(parents=True)
            masks.mkdir()
            for number in range(12):
                dy, dx = abs(y - random.integers(20, 44)), abs(x - random.integers(20, 44))
                inside = np.hypot(dy, dx) < 14 if class_id == 0 else np.maximum(dy, dx) < 12
                pixels = random.integers(0, 90, (64, 64, 3), dtype=np.uint8)
                pixels[inside] += np.array([(150, 60, 20), (20, 90, 150)], np.uint8)[class_id]
                Image.fromarray(pixels).save(images / f"{number:02}.png")
                Image.fromarray(np.where(inside, 255, 0).astype(np.uint8)).save(masks / f"{number:02}.png")
