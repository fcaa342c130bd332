"""A data set, a method and a reporter that fail where FAIL_AT says, two calls deep; tests copy and load this file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from fssbench.api import (
    Dataset,
    DatasetCard,
    Entry,
    ImageMethod,
    MethodCard,
    Pool,
    Recipe,
    Reporter,
    Verification,
)

SIDE = 32


def reach(place: str) -> None:
    if os.environ.get("FAIL_AT") == place:
        stumble(place)


def stumble(place: str) -> int:
    return int(f"planted in {place}")


class Squares(Dataset):
    """Squares at places that the number of the image decides."""

    card = DatasetCard(
        name="squares",
        title="Squares",
        domain="none",
        folders=("squares",),
        url="none",
        licence="none",
        citation="none",
        layout="an empty folder",
    )

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        reach("dataset")

    def classes(self):
        reach("classes")
        return {0: "left", 1: "right"}

    def pool(self, split):
        reach("pool")
        return Pool(tuple(Entry(f"{split}/{c}/{i}", c) for c in (0, 1) for i in range(12)), "made up")

    def files(self, item):
        reach("files")
        return ()

    def image(self, item):
        reach("image")
        pixels = np.full((SIDE, SIDE, 3), 90, np.uint8)
        pixels[self._square(item) == 1] = 200
        return Image.fromarray(pixels)

    def mask(self, item, class_id):
        reach("mask")
        return self._square(item)

    def label(self, item):
        return self._square(item)

    def _square(self, item):
        _, class_id, number = item.split("/")
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[int(number) : int(number) + 16, 16 * int(class_id) : 16 * int(class_id) + 12] = 1
        return mask

    def verify(self):
        reach("verify")
        return Verification("squares", self.root)

    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        reach("miniature")
        (data / "squares").mkdir(parents=True)

    @classmethod
    def prepare(cls, source: Path, data: Path) -> Iterator[str]:
        yield "unpacking"
        reach("prepare")


class Fragile(ImageMethod):
    """One convolution on the query."""

    card = MethodCard(
        name="fragile",
        title="Fragile",
        paper="none",
        year=2026,
        kind="other",
        backbone="none",
        size=SIDE,
        trained=True,
        reference="none",
        licence="Apache-2.0",
    )
    recipe = Recipe(optimizer="adam", learning_rate=0.02, batch=2, steps=2, size=SIDE, source="none")

    def __init__(self, config, backbone=None):
        super().__init__(config, backbone)
        reach("init")
        self.layer = nn.Conv2d(3, 2, 1)

    def logits(self, query, support, support_mask):
        reach("logits")
        if not self.training:
            reach("inference")
        return Stumbling.apply(self.layer(query))


class Stumbling(torch.autograd.Function):
    """The identity, whose backward may fail."""

    @staticmethod
    def forward(context, value):
        return value.clone()

    @staticmethod
    def backward(context, gradient):
        reach("backward")
        return gradient


class Pages(Reporter):
    """A report of no page."""

    name = "pages"
    title = "Pages"

    @classmethod
    def lacking(cls):
        reach("lacking")
        return ""

    def write(self, results, folder, **options):
        reach("write")
        return []


reach("import")
