"""A data set of coloured discs and squares: images `NAME.png`, labels `NAME_label.png`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.api import Dataset, DatasetCard, Entry, Finding, Pool, UsageError, Verification
from fssbench.errors import DataError
from fssbench.images.reading import read_index, read_rgb


class ToyDiscs(Dataset):
    """Two classes, one per image, 12 images each."""

    card = DatasetCard(
        name="toy-discs",
        title="Toy discs",
        domain="drawings",
        folders=("ToyDiscs",),
        url="https://example.org/toy-discs",
        licence="CC0",
        citation="none: a test plugin",
        layout="NAME.png and NAME_label.png (palette: 0 background, 1 the class)",
    )

    def classes(self) -> dict[int, str]:
        return {0: "disc", 1: "square"}

    def _items(self) -> list[str]:
        names = (p.name.removesuffix(".png").removesuffix("_label") for p in self.path("").glob("*.png"))
        return sorted(set(names))

    def pool(self, split: str) -> Pool:
        if split != "test":
            raise UsageError(f"data set toy-discs has no split {split!r}; only test")
        ids = {name: i for i, name in self.classes().items()}
        entries = tuple(Entry(item, ids[item.split("-")[0]]) for item in self._items())
        return Pool(entries, "files on disk, sorted by name")

    def files(self, item: str) -> tuple[Path, ...]:
        return self.path(f"{item}.png"), self.path(f"{item}_label.png")

    def image(self, item: str) -> Image.Image:
        return read_rgb(self.path(f"{item}.png"))

    def label(self, item: str) -> NDArray[np.uint8]:
        return read_index(self.path(f"{item}_label.png"))

    def mask(self, item: str, class_id: int) -> NDArray[np.uint8]:
        return self.label(item)

    def verify(self) -> Verification:
        report = Verification("toy-discs", self.path(""))
        for entry in self.pool("test").entries:
            name = self.classes()[entry.class_id]
            try:
                self.image(entry.item)
                report.images += 1
                self.label(entry.item)
                report.masks += 1
            except DataError as error:
                report.findings.append(Finding("error", entry.item, str(error), "draw it again"))
            report.histogram[name] = report.histogram.get(name, 0) + 1
        return report

    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        folder = data / "ToyDiscs"
        folder.mkdir(parents=True)
        random = np.random.default_rng(seed)
        y, x = np.mgrid[:64, :64]
        for index in range(24):
            name = "disc" if index % 2 else "square"
            dy, dx = abs(y - random.integers(20, 44)), abs(x - random.integers(20, 44))
            shape = np.hypot(dy, dx) < 14 if name == "disc" else np.maximum(dy, dx) < 12
            image = random.integers(0, 90, (64, 64, 3), dtype=np.uint8)
            image[shape] += np.array([150, 60, 20], np.uint8) if name == "disc" else np.uint8(120)
            Image.fromarray(image).save(folder / f"{name}-{index:02}.png")
            Image.fromarray(shape.astype(np.uint8)).save(folder / f"{name}-{index:02}_label.png")
