"""What a prediction returns to Python: the finished images, those that failed, and what the user must know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.contracts.marks import Mark
from fssbench.images.opening import open_image
from fssbench.markup import make_pictures, make_table
from fssbench.plural import describe_count
from fssbench.prediction.layout import list_output_files, name_page
from fssbench.prediction.records import ImageRecord
from fssbench.prediction.table import COLUMNS, make_failed_row, make_row

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 12
"""Most images that a notebook shows."""


@dataclass(frozen=True)
class Prediction:
    """The prediction of one image, read from its files when it is used."""

    folder: Path
    record: ImageRecord

    @property
    def file(self) -> str:
        """Path of the image as it was given."""
        return self.record.file

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The mask (H, W), of the size of the image."""
        return np.asarray(open_image(self.mask_path)) > 0

    @property
    def overlay(self) -> Image.Image:
        """The image with the object tinted."""
        return open_image(self.overlay_path)

    @property
    def mask_path(self) -> Path:
        """File of the mask."""
        return self.folder / list_output_files(self.record.name)[0]

    @property
    def overlay_path(self) -> Path:
        """File of the overlay."""
        return self.folder / list_output_files(self.record.name)[1]

    @property
    def foreground(self) -> float:
        """Share of the pixels that belong to the object."""
        return self.record.foreground

    @property
    def confidence(self) -> float:
        """Mean probability of the answer, by the method's own logits; not an accuracy."""
        return self.record.confidence


@dataclass(frozen=True)
class Predictions:
    """The predictions of one call, in the order of the images."""

    folder: Path
    """Where masks, overlays, table and contact sheet are."""
    items: tuple[Prediction, ...]
    failed: tuple[tuple[str, str], ...]
    """Images that could not be read, each with the problem."""
    marks: tuple[Mark, ...]
    """What must be said of the weights, such as that they are part-trained."""
    warnings: tuple[str, ...]
    """What the user should look at."""
    computed: int
    """Images that this call segmented; the others were finished before."""

    @property
    def sheet(self) -> Path:
        """The contact sheet."""
        return self.folder / name_page(1)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dictionary per image, as in the CSV; numbers are unrounded."""
        failed = [make_failed_row(file, problem) for file, problem in self.failed]
        return [make_row(item.record) for item in self.items] + failed

    @property
    def table(self) -> pd.DataFrame:
        """One row per image, as in the CSV."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=list(COLUMNS))

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> Prediction:
        return self.items[place]

    def __str__(self) -> str:
        """Return the number of images, failures, marks and the page to open."""
        failed = f", {len(self.failed)} failed" if self.failed else ""
        marks = f"; {'; '.join(self.marks)}" if self.marks else ""
        count = describe_count(len(self.items), "image")
        return f"{count} segmented{failed}{marks}. Look at {self.sheet}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Show the first images in a notebook, with marks and warnings.  Confidence is no accuracy."""
        thumbnails = [
            (item.file, file)
            for item in self.items[:_SHOWN]
            if (file := self.folder / list_output_files(item.record.name)[2]).is_file()
        ]
        rows = [
            (item.file, f"{100 * item.foreground:.0f} %", f"{item.confidence:.2f}")
            for item in self.items[:_SHOWN]
        ]
        more = len(self.items) - len(rows)
        notes = [
            *(describe_count(more, "more image") for _ in range(more > 0)),
            *(f"failed: {file}: {problem}" for file, problem in self.failed),
            f"marks: {'; '.join(self.marks) or 'none'}",
            *self.warnings,
            f"The confidence is the method's own and no accuracy. Look at {self.sheet}",
        ]
        pictures = make_pictures((name, file.read_bytes()) for name, file in thumbnails)
        return pictures + make_table(("file", "object", "confidence"), rows, notes)
