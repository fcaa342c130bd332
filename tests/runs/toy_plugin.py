"""A toy data set without files and a toy method without weights, from which the stored toy run was made.

The identity of the stored run contains a hash of this file's code: do not change it.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fssbench.api import (
    Dataset,
    DatasetCard,
    Entry,
    ImageMethod,
    MethodCard,
    MethodConfig,
    Pool,
    Verification,
)

SIDE = 32


class ToyData(Dataset):
    """Three classes of grey images, made when they are asked for."""

    card = DatasetCard(
        name="toydata",
        title="Toy data",
        domain="none",
        folders=("toydata",),
        url="none",
        licence="none",
        citation="none",
        layout="an empty folder",
    )

    def classes(self):
        return {0: "disc", 1: "bar", 2: "dot"}

    def pool(self, split):
        return Pool(tuple(Entry(f"{c}/{i:04d}", c) for c in self.classes() for i in range(12)), "made up")

    def files(self, item):
        return ()

    def image(self, item):
        return Image.fromarray(np.full((SIDE, SIDE, 3), zlib.crc32(item.encode()) % 256, np.uint8))

    def label(self, item):
        y, x = divmod(zlib.crc32(item.encode()) % 256, 16)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[y : y + 16, x : x + 16] = 1
        return mask

    def mask(self, item, class_id):
        return self.label(item)

    def verify(self):
        return Verification("toydata", self.root)

    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        (data / "toydata").mkdir(parents=True)


class ToyConfig(MethodConfig):
    """Settings of the toy method."""

    bias: float = 0.0
    keep: bool = True

    ablations = {"keep": {"keep": False}}


class ToyMethod(ImageMethod):
    """Predicts the mean of the support masks."""

    card = MethodCard(
        name="toy",
        title="Toy",
        paper="none",
        year=2026,
        kind="other",
        backbone="none",
        size=32,
        trained=False,
        reference="none",
        licence="Apache-2.0",
    )
    Config = ToyConfig

    def logits(self, query, support, support_mask):
        foreground = support_mask.mean(dim=1) - (0.5 - self.config.bias)
        return torch.stack([-foreground, foreground], dim=1)
