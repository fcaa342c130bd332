"""A data set, a method and a reporter that fail at the place that FAIL_AT names; tests copy and load this file."""

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


def fail_at(place: str) -> None:
    """Fail, two calls deep, if FAIL_AT names this place."""
    if os.environ.get("FAIL_AT") == place:
        raise_error(place)


def raise_error(place: str) -> int:
    return int(f"planted in {place}")


class Squares(Dataset):
    """Squares whose place depends on the number of the image."""

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
        fail_at("dataset")

    def classes(self):
        fail_at("classes")
        return {0: "left", 1: "right"}

    def pool(self, split):
        fail_at("pool")
        return Pool(tuple(Entry(f"{split}/{c}/{i}", c) for c in (0, 1) for i in range(12)), "made up")

    def files(self, item):
        fail_at("files")
        return ()

    def image(self, item):
        fail_at("image")
        pixels = np.full((SIDE, SIDE, 3), 90, np.uint8)
        pixels[self._square(item) == 1] = 200
        return Image.fromarray(pixels)

    def mask(self, item, class_id):
        fail_at("mask")
        return self._square(item)

    def label(self, item):
        return self._square(item)

    def _square(self, item):
        _, class_id, number = item.split("/")
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[int(number) : int(number) + 16, 16 * int(class_id) : 16 * int(class_id) + 12] = 1
        return mask

    def verify(self):
        fail_at("verify")
        return Verification("squares", self.root)

    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        fail_at("miniature")
        (data / "squares").mkdir(parents=True)

    @classmethod
    def prepare(cls, source: Path, data: Path) -> Iterator[str]:
        yield "unpacking"
        fail_at("prepare")


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
        fail_at("init")
        self.layer = nn.Conv2d(3, 2, 1)

    def logits(self, query, support, support_mask):
        fail_at("logits")
        if not self.training:
            fail_at("inference")
        return Stumbling.apply(self.layer(query))


class Stumbling(torch.autograd.Function):
    """The identity function; its backward may fail."""

    @staticmethod
    def forward(context, value):
        return value.clone()

    @staticmethod
    def backward(context, gradient):
        fail_at("backward")
        return gradient


class Pages(Reporter):
    """A reporter that writes no file."""

    name = "pages"
    title = "Pages"

    @classmethod
    def lacking(cls):
        fail_at("lacking")
        return ""

    def write(self, results, folder, **options):
        fail_at("write")
        return []


fail_at("import")
