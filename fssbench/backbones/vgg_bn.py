"""VGG-16 with batch norm, cut at its pools, as the PFENet family builds it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fssbench.api import Backbone, Tap

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16BatchNorm(Backbone):
    """torchvision's `vgg16_bn().features` in five parts `layer0` to `layer4` (dvlab-research/PFENet).

    Pools round up and end each part but the last, which has none: strides 2, 4, 8, 16, 16.  One tap a
    part, its output after ReLU and pool.  Names are those of the PFENet family's checkpoints,
    `layer{part}.{index}`; torchvision's `features.{index}` are taken too.
    """

    name = "vgg16"
    layout = "batchnorm"

    def __init__(self) -> None:
        super().__init__()
        self._taps: dict[str, Tap] = {}
        self._first: list[int] = []
        channels, stride, count = 3, 1, 0
        for number, widths in enumerate(_STAGES):
            layers: list[nn.Module] = []
            with torch.device("meta"):
                for width in widths:
                    layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                    channels = width
            if number < len(_STAGES) - 1:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
                stride *= 2
            name = f"layer{number}"
            self.add_module(name, nn.Sequential(*layers))
            self._taps[name] = Tap(name, channels, stride, number)
            self._first.append(count)
            count += len(layers)
        self.freeze()

    @property
    def taps(self) -> Mapping[str, Tap]:
        """Return the five parts in network order; `layer0` belongs to no stage."""
        return self._taps

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Compute the feature maps (B, C, h, w) of normalised images (B, 3, H, W) at the named taps."""
        maps = self._run(images, list(self._taps), self.select(taps))
        return {tap: maps[tap] for tap in taps}

    def resume(self, features: Tensor, after: str, taps: Sequence[str]) -> dict[str, Tensor]:
        """Continue the forward pass after tap `after` with replaced features (B, C, h, w)."""
        wanted = self.select_after(after, taps)
        parts = list(self._taps)
        maps = self._run(features, parts[parts.index(after) + 1 :], wanted)
        return {tap: maps[tap] for tap in taps}

    def _run(self, x: Tensor, parts: Sequence[str], wanted: set[str]) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = {}
        for part in parts:
            if len(maps) == len(wanted):
                break
            x = self.get_submodule(part)(x)
            if part in wanted:
                maps[part] = x
        return maps

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the entries under the names of the parts, without the ImageNet classifier."""
        return {self._own_name(k): v for k, v in state.items() if not k.startswith("classifier.")}

    def _own_name(self, name: str) -> str:
        """Translate a name: `features.8.running_mean` of torchvision is our `layer1.1.running_mean`."""
        match = re.fullmatch(r"features\.(\d+)\.(.+)", name)
        if match is None:
            return name
        index = int(match[1])
        part = max(i for i, first in enumerate(self._first) if first <= index)
        return f"layer{part}.{index - self._first[part]}.{match[2]}"
