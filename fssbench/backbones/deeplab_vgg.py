"""VGG-16 of the first DeepLab, which the PMMs family uses (Yang-Bob/PMMs)."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fssbench.api import Backbone, Tap

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class DeepLabVGG16(Backbone):
    """VGG-16 without batch norm and with 3x3 pools, the last two of stride 1: output stride 8.

    Nothing is dilated.  One tap a block, its output after ReLU and pool, named as in the authors'
    checkpoints, `features_1` to `features_5`; ImageNet weights of torchvision are taken by order.
    """

    name = "vgg16"
    layout = "deeplab"

    def __init__(self) -> None:
        super().__init__()
        self._taps: dict[str, Tap] = {}
        channels, stride = 3, 1
        for number, widths in enumerate(_BLOCKS, start=1):
            layers: list[nn.Module] = []
            with torch.device("meta"):
                for width in widths:
                    layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                    channels = width
            step = 2 if number <= 3 else 1
            stride *= step
            name = f"features_{number}"
            self.add_module(name, nn.Sequential(*layers, nn.MaxPool2d(3, stride=step, padding=1)))
            self._taps[name] = Tap(name, channels, stride, max(number - 1, 0))
        self.freeze()

    @property
    def taps(self) -> Mapping[str, Tap]:
        """Return the five blocks in network order; the first belongs to no stage."""
        return self._taps

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Compute the feature maps (B, C, h, w) of normalised images (B, 3, H, W) at the named taps."""
        wanted = self.select(taps)
        maps: dict[str, Tensor] = {}
        x = images
        for name in self._taps:
            if len(maps) == len(wanted):
                break
            x = self.get_submodule(name)(x)
            if name in wanted:
                maps[name] = x
        return {tap: maps[tap] for tap in taps}

    def part(self, after: str, last: str) -> nn.Module:
        """Return the blocks after tap `after` up to tap `last`; they share their weights and keep their names."""
        self.select_after(after, [last])
        names = list(self._taps)
        between = names[names.index(after) + 1 : names.index(last) + 1]
        return nn.Sequential(OrderedDict((name, self.get_submodule(name)) for name in between)).eval()

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the entries without the ImageNet classifier; names of torchvision are matched by order."""
        kept = {k: v for k, v in state.items() if not k.startswith("classifier.")}
        if not all(re.fullmatch(r"features\.\d+\.(weight|bias)", k) for k in kept):
            return kept
        order = sorted(kept, key=lambda k: (int(k.split(".")[1]), k.endswith("bias")))
        return {own: kept[given] for own, given in zip(self.state_dict(), order, strict=False)}
