"""A third-party data set: three shapes, two variants, one folder per class; tests load it as `--plugin` does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fssbench.api import DataError, Dataset, DatasetCard, Entry, Finding, Pool, UsageError, Verification

SHAPES = {2: "disc", 5: "square", 9: "wedge"}


class Toy(Dataset):
    card = DatasetCard(
        name="toy",
        title="Toy shapes",
        domain="drawings",
        folders=("toy",),
        url="https://example.org/toy",
        licence="CC0",
        citation="nobody",
        layout="SHAPE/N.png with SHAPE/N_mask.png",
        variants=("three", "two"),
    )
    miniature_folders: ClassVar[list[Path]] = []
    """Folders in which miniatures were drawn, in order."""

    def classes(self) -> dict[int, str]:
        return SHAPES if self.variant == "three" else {c: n for c, n in SHAPES.items() if c < 9}

    def pool(self, split: str) -> Pool:
        if split != "test":
            raise UsageError(f"toy has no split {split!r}")
        entries = []
        for class_id, name in self.classes().items():
            images = sorted(p.name for p in self.path(name).glob("*.png") if "_mask" not in p.name)
            entries += [Entry(f"{name}/{n}", class_id) for n in images]
        return Pool(tuple(entries), "files on disk by name", published=24)

    def files(self, item: str) -> tuple[Path, ...]:
        return self.path(item), self.path(item.replace(".png", "_mask.png"))

    def image(self, item: str) -> Image.Image:
        return Image.open(self.path(item)).convert("RGB")

    def label(self, item: str) -> NDArray[np.uint8]:
        return np.asarray(Image.open(self.files(item)[1]).convert("L"), dtype=np.uint8)

    def mask(self, item: str, class_id: int) -> NDArray[np.uint8]:
        return (self.label(item) >= 128).astype(np.uint8)

    def verify(self) -> Verification:
        report = Verification("toy", self.path("."))
        for entry in self.pool("test").entries:
            report.images += 1
            if self.files(entry.item)[1].is_file():
                report.masks += 1
                name = SHAPES[entry.class_id]
                report.histogram[name] = report.histogram.get(name, 0) + 1
            else:
                number = Path(entry.item).stem
                report.findings.append(
                    Finding("error", entry.item, f"no mask for image {number}", "draw it again")
                )
        if self.variant == "two":
            report.findings.append(Finding("warning", "wedge", "not a class of this variant", "ignore it"))
        return report

    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        cls.miniature_folders.append(data)
        rng = np.random.default_rng(seed)
        for name in SHAPES.values():
            folder = data / "toy" / name
            folder.mkdir(parents=True)
            for number in range(1, 9):
                image, mask = Image.new("RGB", (32, 32), "white"), Image.new("L", (32, 32), 0)
                x, y = (int(v) for v in rng.integers(2, 16, size=2))
                for canvas, colour in ((image, "navy"), (mask, 255)):
                    ImageDraw.Draw(canvas).ellipse((x, y, x + 12, y + 12), fill=colour)
                image.save(folder / f"{number}.png")
                mask.save(folder / f"{number}_mask.png")

    @classmethod
    def prepare(cls, source: Path, data: Path) -> Iterator[str]:
        if not (source / "raw.txt").is_file():
            raise DataError(f"{source} holds no raw.txt")
        yield "unpacking"
        cls.miniature(data, 1)
        yield "done"
