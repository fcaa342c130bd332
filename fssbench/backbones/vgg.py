"""VGG-16 without batch norm, in torchvision's layout and in PANet's (output stride 8)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fssbench.api import Backbone, BackboneCard, PublishedWeights, Tap
from fssbench.backbones.deeplab_vgg import DeepLabVGG16
from fssbench.backbones.vgg_bn import VGG16BatchNorm

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of the 3x3 convolutions, by block."""


class VGG16(Backbone):
    """torchvision's `vgg16().features`, same names, with a tap per convolution and per pool.

    A convolution's tap holds its value before the ReLU; HSNet reads 17, 19, 21, 24, 26, 28 and the
    last pool, 30.  Stages go by stride: 4, 8 and 16 are the convolutions of blocks 3, 4 and 5, 32 is
    the last pool.  Earlier convolutions and pools belong to no stage.
    """

    replayable = True
    card = BackboneCard(
        name="vgg16",
        title="VGG-16",
        licence="BSD-3-Clause (torchvision)",
        layouts=("standard", "panet", "batchnorm", "deeplab"),
        weights=(
            PublishedWeights(
                id="v1",
                file="vgg16-397923af.pth",
                sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
                origin="torchvision",
                key="VGG16_Weights.IMAGENET1K_V1",
                licence="BSD-3-Clause (torchvision); trained on ImageNet-1K, whose terms are for research",
                source="torchvision's recipe; HSNet's and PANet's",
            ),
        ),
        own_files={"batchnorm": "torchvision's `vgg16_bn-6c64b313.pth`"},
        pretraining="ImageNet-1K",
    )

    @classmethod
    def from_layout(cls, layout: str) -> Backbone:
        """Build the network of one layout, with undefined weights."""
        if layout == "panet":
            return PANetVGG16()
        if layout == "batchnorm":
            return VGG16BatchNorm()
        return DeepLabVGG16() if layout == "deeplab" else cls()

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self._taps: dict[str, Tap] = {}
        channels = 3
        with torch.device("meta"):
            for block, widths in enumerate(_BLOCKS):
                for width in widths:
                    tap = f"features.{len(layers)}"
                    self._taps[tap] = Tap(tap, width, 2**block, max(block - 1, 0))
                    layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                    channels = width
                tap = f"features.{len(layers)}"
                last = block == len(_BLOCKS) - 1
                self._taps[tap] = Tap(tap, channels, 2 ** (block + 1), 4 if last else 0)
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.freeze()

    @property
    def taps(self) -> Mapping[str, Tap]:
        """Return all taps by name, in network order."""
        return self._taps

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Compute the feature maps (B, C, h, w) of normalised images (B, 3, H, W) at the named taps."""
        wanted = self.select(taps)
        maps: dict[str, Tensor] = {}
        x = images
        for i, layer in enumerate(self.features):
            x = layer(x)
            if f"features.{i}" in wanted:
                maps[f"features.{i}"] = x
                if len(maps) == len(wanted):
                    break
        return {tap: maps[tap] for tap in taps}

    def part(self, after: str, last: str) -> nn.Module:
        """Return the layers after tap `after` up to tap `last`; they share their weights."""
        self.select_after(after, [last])
        first, end = (int(tap.removeprefix("features.")) + 1 for tap in (after, last))
        return nn.Sequential(*list(self.features)[first:end]).eval()

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the entries without the ImageNet classifier."""
        return _without_classifier(state)


class PANetVGG16(Backbone):
    """VGG-16 as PANet builds it (kaixin96/PANet): stride 8, last feature map signed, one tap.

    3x3 pools of stride 2 after blocks 1-3 and of stride 1 after block 4; block 5 is dilated by 2 and
    ends without ReLU.  Names are those of its checkpoints, `features.{block}.{layer}`; ImageNet weights
    of torchvision are taken by order, as the reference does.
    """

    name = "vgg16"
    layout = "panet"
    replayable = True

    def __init__(self) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        channels = 3
        with torch.device("meta"):
            for block, widths in enumerate(_BLOCKS):
                dilation = 2 if block == 4 else 1
                layers: list[nn.Module] = []
                for width in widths:
                    layers += [nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation), nn.ReLU()]
                    channels = width
                if block == 4:
                    modules.append(nn.Sequential(*layers[:-1]))
                else:
                    pool = nn.MaxPool2d(3, stride=1 if block == 3 else 2, padding=1)
                    modules += [nn.Sequential(*layers), pool]
        self.features = nn.Sequential(*modules)
        self._taps = {"features": Tap("features", channels, 8, 4)}
        self.freeze()

    @property
    def taps(self) -> Mapping[str, Tap]:
        """Return the only tap, `features`."""
        return self._taps

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Compute the last feature map (B, 512, ceil(H / 8), ceil(W / 8)) of normalised images (B, 3, H, W)."""
        self.select(taps)
        return {"features": self.features(images)}

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the entries without the ImageNet classifier; names of torchvision are matched by order."""
        state = _without_classifier(state)
        if len(state) != len(self.state_dict()) or not all(
            re.fullmatch(r"features\.\d+\.(weight|bias)", k) for k in state
        ):
            return state
        order = sorted(state, key=lambda k: (int(k.split(".")[1]), k.endswith("bias")))
        return {own: state[given] for own, given in zip(self.state_dict(), order, strict=True)}


def _without_classifier(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if not k.startswith("classifier.")}
