"""A data set without files and a method without weights, for tests of the harness alone.

Tests load this file with `--plugin`.  Each call of `NullMethod` is counted in the file that the environment
variable NULL_CALLS names, so a test knows how many episodes were computed.  NULL_SLEEP are seconds that each call
takes longer, without another setting of the method and so without another identity of its run.
"""

from __future__ import annotations

import os
import time
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


class NullData(Dataset):
    """Three classes of images that are made on request."""

    card = DatasetCard(
        name="nulldata",
        title="Null data",
        domain="none",
        folders=("nulldata",),
        url="none",
        licence="none",
        citation="none",
        layout="an empty folder",
    )
    per_class = int(os.environ.get("NULL_IMAGES", "12"))

    def classes(self):
        return {0: "disc", 1: "bar", 2: "dot"}

    def pool(self, split):
        return Pool(
            tuple(Entry(f"{c}/{i:04d}", c) for c in self.classes() for i in range(self.per_class)), "made up"
        )

    def files(self, item):
        return ()

    def image(self, item):
        value = zlib.crc32(item.encode()) % 256
        return Image.fromarray(np.full((SIDE, SIDE, 3), value, np.uint8))

    def label(self, item):
        rng = np.random.Generator(np.random.Philox(key=zlib.crc32(item.encode())))
        mask = np.zeros((SIDE, SIDE), np.uint8)
        y, x = rng.integers(0, SIDE // 2, 2)
        mask[y : y + SIDE // 2, x : x + SIDE // 2] = 1
        return mask

    def mask(self, item, class_id):
        return self.label(item)

    def verify(self):
        return Verification("nulldata", self.root)

    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        (data / "nulldata").mkdir(parents=True)


class NullConfig(MethodConfig):
    """Settings of the null method."""

    sleep: float = 0.0
    bias: float = 0.0


class NullMethod(ImageMethod):
    """Predicts the mean of the supports' masks, which takes almost no time."""

    card = MethodCard(
        name="null",
        title="Null",
        paper="none",
        year=2026,
        kind="other",
        backbone="none",
        size=32,
        trained=False,
        reference="none",
        licence="Apache-2.0",
    )
    Config = NullConfig

    def logits(self, query, support, support_mask):
        if "NULL_CALLS" in os.environ:
            with Path(os.environ["NULL_CALLS"]).open("a") as file:
                file.write("x\n")
        if seconds := self.config.sleep or float(os.environ.get("NULL_SLEEP", "0")):
            time.sleep(seconds)
        both = support_mask.new_empty(len(support_mask), 2, *support_mask.shape[2:])
        mean = support_mask[:, 0] if support_mask.shape[1] == 1 else support_mask.mean(dim=1)
        torch.sub(mean, 0.5 - self.config.bias, out=both[:, 1])
        torch.neg(both[:, 1], out=both[:, 0])
        return both
