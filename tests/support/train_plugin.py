"""A data set of coloured shapes, and methods with few weights that train in milliseconds.

Tests load this file with `--plugin`.  Environment variables change it.  TRAIN_EMPTY names a class with empty masks,
TRAIN_TINY a class with masks of one pixel, and TRAIN_FULL a class with masks that are all foreground.  TRAIN_IMAGES is
the number of images per class.  From call number TRAIN_NAN on, `logits` returns NaN in training.  Each call of
`logits` is counted in the file TRAIN_CALLS.  TRAIN_KILL is a file that does not exist; process 1 of several makes it
and kills itself at its tenth call.
"""

from __future__ import annotations

import os
import signal
import time
import zlib
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from fssbench.api import (
    DataError,
    Dataset,
    DatasetCard,
    Entry,
    FeatureMethod,
    ImageMethod,
    MethodCard,
    MethodConfig,
    Pool,
    Recipe,
    Stage,
    Taps,
    UsageError,
    Verification,
)

SIDE = 32
CALLS = count(1)
COLOURS = {0: (220, 40, 40), 1: (40, 200, 60), 2: (60, 70, 220)}


class Shapes(Dataset):
    """Squares in one colour per class, on grey noise; the splits `trn` and `test` have different images."""

    card = DatasetCard(
        name="shapes",
        title="Shapes",
        domain="none",
        folders=("shapes",),
        url="none",
        licence="none",
        citation="none",
        layout="an empty folder",
    )

    def classes(self):
        return {0: "red", 1: "green", 2: "blue"}

    def pool(self, split):
        if split not in {"trn", "test"}:
            raise UsageError(f"shapes has no split {split!r}")
        if split == "trn" and "TRAIN_NONE" in os.environ:
            raise DataError("no list of split trn")
        images = int(os.environ.get("TRAIN_IMAGES", "30"))
        return Pool(tuple(Entry(f"{split}/{c}/{i}", c) for c in COLOURS for i in range(images)), "made up")

    def files(self, item):
        return ()

    def image(self, item):
        rng = np.random.Generator(np.random.Philox(key=zlib.crc32(item.encode())))
        pixels = rng.integers(90, 160, (SIDE, SIDE, 3)).astype(np.uint8)
        pixels[self.label(item) == 1] = COLOURS[int(item.split("/")[1])]
        return Image.fromarray(pixels)

    def label(self, item):
        rng = np.random.Generator(np.random.Philox(key=zlib.crc32(f"{item} place".encode())))
        mask = np.full((SIDE, SIDE), item.split("/")[1] == os.environ.get("TRAIN_FULL"), np.uint8)
        y, x = rng.integers(0, SIDE // 2, 2)
        mask[y : y + SIDE // 2, x : x + SIDE // 2] = 1
        if item.split("/")[1] == os.environ.get("TRAIN_EMPTY"):
            mask[:] = 0
        if item.split("/")[1] == os.environ.get("TRAIN_TINY"):
            mask[:] = 0
            mask[1, 1] = 1  # lost if every second row is dropped
        return mask

    def mask(self, item, class_id):
        return self.label(item)

    def verify(self):
        return Verification("shapes", self.root)

    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        (data / "shapes").mkdir(parents=True)


class LearnerConfig(MethodConfig):
    """Settings of the learner."""

    width: int = 8
    """Number of channels."""
    norm: bool = False
    """Whether there is a batch norm, whose running statistics are part of the state."""
    dropout: float = 0.0
    """Probability of dropout, which draws from the global generator."""


RECIPE = Recipe(optimizer="adam", learning_rate=0.02, batch=4, steps=12, size=32, source="none")


def make_card(name: str, backbone: str = "none") -> MethodCard:
    return MethodCard(
        name=name,
        title=name.title(),
        paper="none",
        year=2026,
        kind="other",
        backbone=backbone,
        size=32,
        trained=True,
        reference="none",
        licence="Apache-2.0",
    )


class Learner(ImageMethod):
    """Compares pixels with the mean of the supports' foreground, after two convolutions."""

    card = make_card("learner")
    Config = LearnerConfig
    recipe = RECIPE

    def __init__(self, config, backbone=None):
        super().__init__(config, backbone)
        norm = nn.BatchNorm2d(config.width) if config.norm else nn.Identity()
        self.embed = nn.Sequential(
            nn.Conv2d(3, config.width, 3, padding=1),
            norm,
            nn.Tanh(),
            nn.Dropout(config.dropout),
            nn.Conv2d(config.width, config.width, 3, padding=1),
        )
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.calls = 0

    def logits(self, query, support, support_mask):
        if "TRAIN_CALLS" in os.environ:
            with Path(os.environ["TRAIN_CALLS"]).open("a") as file:
                file.write("x")
        if "TRAIN_KILL" in os.environ and os.environ.get("RANK") == "1" and next(CALLS) == 10:
            marker = Path(os.environ["TRAIN_KILL"])
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if "TRAIN_SLEEP" in os.environ:
            time.sleep(float(os.environ["TRAIN_SLEEP"]))
        self.calls += 1
        maps = self.embed(support.flatten(0, 1)).unflatten(0, support.shape[:2])
        weight = support_mask.unsqueeze(2)
        centre = (maps * weight).sum(dim=(1, 3, 4)) / weight.sum(dim=(1, 3, 4)).clamp(min=1)
        far = (self.embed(query) - centre[:, :, None, None]).square().mean(dim=1)
        if self.training and self.calls >= int(os.environ.get("TRAIN_NAN", "1000000")):
            far = far * float("nan")
        return torch.stack([torch.ones_like(far), 2 - self.scale * far], dim=1)


class OnFeatures(FeatureMethod):
    """Does the same as `Learner` on one tap of a backbone; it learns one convolution."""

    card = make_card("onfeatures", "efficientnet-lite0")
    Config = LearnerConfig
    recipe = RECIPE.model_copy(update={"optimizer": "sgd"})

    def __init__(self, config, backbone=None):
        super().__init__(config, backbone)
        self.tap = next(t for t in self.backbone.taps.values() if t.stage == 2)
        self.embed = nn.Conv2d(self.tap.channels, config.width, 1)

    @property
    def taps(self):
        return Taps((self.tap.name,), (self.tap.name,))

    def logits(self, query, support, support_mask):
        both = (
            self.embed(support[self.tap.name].flatten(0, 1))
            .mean(dim=(2, 3))
            .unflatten(0, (-1, support_mask.shape[1]))
        )
        far = (self.embed(query[self.tap.name]) - both.mean(dim=1)[:, :, None, None]).square().mean(dim=1)
        return torch.stack([torch.ones_like(far), 2 - far], dim=1)


class Staged(OnFeatures):
    """Learns first, with the backbone, to sort pixels by colour; then one convolution on that backbone."""

    card = make_card("staged", "efficientnet-lite0")
    stages = {
        "sorting": Stage(
            recipe=RECIPE.model_copy(update={"learning_rate": 2e-3}),
            names=r"^sort\.",
            supervision="classes",
            trains_backbone=True,
        )
    }

    def __init__(self, config, backbone=None):
        super().__init__(config, backbone)
        self.sort = nn.Conv2d(self.tap.channels, 4, 1)
        self.sort.requires_grad_(False)

    def loss(self, query, support, support_mask, target, ignore):
        if self.stage is None:
            return super().loss(query, support, support_mask, target, ignore)
        maps = self.backbone(query, self.taps.query)[self.tap.name]
        size = target.shape[-2:]
        return nn.functional.cross_entropy(nn.functional.interpolate(self.sort(maps), size), target)


class Rememberer(Learner):
    """Is told the number of each class; its loss grows with the mean of all numbers so far."""

    card = make_card("rememberer")
    supervision = "numbered"

    def __init__(self, config, backbone=None):
        super().__init__(config, backbone)
        self.met = torch.zeros(0)
        self.loss_inputs = []

    def loss(self, query, support, support_mask, target, ignore, numbers=None):
        self.loss_inputs.append((query, target, numbers))
        self.met = torch.cat([self.met, numbers.float()])
        return super().loss(query, support, support_mask, target, ignore) * self.met.mean()

    def training_memory(self):
        return {"met": self.met}

    def restore_memory(self, memory):
        self.met = memory["met"]


class Labeller(Learner):
    """Is told the mask, the number of its class, and the numbers of all classes in the query."""

    card = make_card("labeller")
    supervision = "labelled"

    def __init__(self, config, backbone=None):
        super().__init__(config, backbone)
        self.loss_inputs = []

    def loss(self, query, support, support_mask, target, ignore, numbers=None, labels=None):
        self.loss_inputs.append((target, numbers, labels))
        return super().loss(query, support, support_mask, target, ignore)


class Prompted(Learner):
    """Reads the name of the class, and has the default loss."""

    card = make_card("prompted").model_copy(update={"reads": ("supports", "query", "class name")})

    def __init__(self, config, backbone=None):
        super().__init__(config, backbone)
        self.told = []

    def logits(self, query, support, support_mask, class_names):
        self.told.append((self.training, class_names))
        return super().logits(query, support, support_mask)


class Frozen(Learner):
    """Has no recipe and cannot be trained."""

    card = make_card("frozen")
    recipe = None


class Sorter(Learner):
    """Learns to classify pixels into all classes, by colour."""

    card = make_card("sorter")
    supervision = "classes"

    def __init__(self, config, backbone=None):
        super().__init__(config, backbone)
        self.sort = nn.Conv2d(config.width, 4, 1)
        self.loss_inputs = []

    def loss(self, query, support, support_mask, target, ignore):
        self.loss_inputs.append((query, target, ignore))
        logits = self.sort(self.embed(query)) * self.scale
        return nn.functional.cross_entropy(logits, target)

    def rate_factor(self, name):
        return 0.0 if name.startswith("embed.") else 2.0
