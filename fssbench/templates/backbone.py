"""MobileNetV2 as torchvision builds it, with a tap after each of its blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from fssbench.api import Backbone, BackboneCard, PublishedWeights, Tap
from torch import Tensor
from torchvision.models import mobilenet_v2

GROUPS = (
    (0, 32, 2, 0),
    (1, 16, 2, 0),
    (2, 24, 4, 1),
    (4, 32, 8, 2),
    (7, 64, 16, 3),
    (11, 96, 16, 3),
    (14, 160, 32, 4),
    (17, 320, 32, 4),
    (18, 1280, 32, 4),
)
"""First block, channels, stride and stage of each group of blocks."""


class Mine(Backbone):
    """A frozen network; methods choose its taps by their stage or by their place."""

    card = BackboneCard(
        name="mine",
        title="Mine",
        licence="BSD-3-Clause (torchvision)",
        weights=(
            PublishedWeights(
                id="v1",
                file="mobilenet_v2-b0353104.pth",
                sha256="b0353104",
                origin="torchvision",
                key="MobileNet_V2_Weights.IMAGENET1K_V1",
                licence="BSD-3-Clause (torchvision); trained on ImageNet-1K",
                source="torchvision's first recipe",
            ),
        ),
        pretraining="ImageNet-1K",
    )

    def __init__(self) -> None:
        super().__init__()
        with torch.device("meta"):  # no memory, no random numbers: weights are loaded afterwards
            self.features = mobilenet_v2(weights=None).features
        self._taps: dict[str, Tap] = {}
        for number in range(len(self.features)):
            _, channels, stride, stage = [group for group in GROUPS if group[0] <= number][-1]
            self._taps[f"block{number}"] = Tap(f"block{number}", channels, stride, stage)
        self.freeze()

    @property
    def taps(self) -> Mapping[str, Tap]:
        """All taps by name, in the order of the network."""
        return self._taps

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the feature maps (B, C, h, w) of normalised images (B, 3, H, W) at the named taps."""
        wanted = self.select(taps)  # refuses taps that do not exist
        maps: dict[str, Tensor] = {}
        for name, block in zip(self._taps, self.features, strict=True):
            images = block(images)
            if name in wanted:
                maps[name] = images
            if len(maps) == len(wanted):
                break  # nothing below the deepest tap is computed
        return {tap: maps[tap] for tap in taps}

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the entries of a published state dict that belong to this network."""
        return {name: value for name, value in state.items() if not name.startswith("classifier.")}
