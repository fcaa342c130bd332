"""One of the smallest backbones there can be: four convolutions, each a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fssbench.api import Backbone, BackboneCard, Tap

CHANNELS = (8, 12, 16, 20)


class ToyStages(Backbone):
    """Taps `stage1` to `stage4`, strides 4 to 32; the layout `wide` has twice the channels."""

    card = BackboneCard(
        name="toy-stages",
        title="Toy stages",
        licence="Apache-2.0",
        layouts=("standard", "wide"),
    )

    def __init__(self, layout: str = "standard") -> None:
        super().__init__()
        factor = 2 if layout == "wide" else 1
        inputs = 3
        with torch.device("meta"):
            self.stages = nn.ModuleList()
            for number, channels in enumerate(CHANNELS):
                stride = 4 if number == 0 else 2
                self.stages.append(nn.Conv2d(inputs, factor * channels, 5, stride=stride, padding=2))
                inputs = factor * channels
        self._taps = {
            f"stage{number}": Tap(f"stage{number}", factor * channels, 2 ** (number + 1), number)
            for number, channels in enumerate(CHANNELS, start=1)
        }
        self.freeze()

    @property
    def taps(self) -> Mapping[str, Tap]:
        return self._taps

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        self.select(taps)
        maps: dict[str, Tensor] = {}
        features = images
        for name, stage in zip(self._taps, self.stages, strict=True):
            maps[name] = stage(features)
            features = maps[name].relu()
        return {tap: maps[tap] for tap in taps}
