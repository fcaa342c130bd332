"""ResNet-50 and VGG-16 as the first DeepLab built them, which the PMMs family stands on (Yang-Bob/PMMs)."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.models import resnet50, resnet101

from fssbench.backbones.resnet import ResNetStages
from fssbench.contracts.backbones import Backbone, Tap

_NETWORKS = {"resnet50": resnet50, "resnet101": resnet101}
_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class DeepLabResNet(ResNetStages):
    """A ResNet of three stages, stride 8, whose blocks stride in their first convolution, not in the 3x3 one.

    Its first pool rounds up; stage 3 is dilated by 2.  Names are torchvision's, and so are the weights, though
    these were trained with strides in the 3x3 convolutions.
    """

    layout = "deeplab"

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        with torch.device("meta"):
            network = _NETWORKS[name](weights=None)
        self.conv1 = network.conv1
        self.bn1 = network.bn1
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)
        self.layer1, self.layer2, self.layer3 = network.layer1, network.layer2, network.layer3
        for name, stage, block in self._blocks():
            block.conv1.stride = (2, 2) if name == "layer2.0" else (1, 1)
            block.conv2.stride = (1, 1)
            if stage == 3:
                block.conv2.dilation = block.conv2.padding = (2, 2)
        _first_convolution(self.layer3).stride = (1, 1)
        self._taps = self._name_taps({3: 8})
        self.freeze()

    def _stem(self, images: Tensor) -> Tensor:
        out: Tensor = self.maxpool(self.bn1(self.conv1(images)).relu_())
        return out

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Entries without the fourth stage and the ImageNet classifier."""
        return {k: v for k, v in state.items() if not k.startswith(("layer4.", "fc."))}


def _first_convolution(stage: nn.Module) -> nn.Conv2d:
    """The one that a stage's identity goes through."""
    convolution = stage.get_submodule("0.downsample.0")
    assert isinstance(convolution, nn.Conv2d)
    return convolution


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
        """The five blocks, in network order; the first belongs to no stage."""
        return self._taps

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Feature maps of normalised images (B, 3, H, W) at the named taps, each (B, C, h, w)."""
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
        """The blocks after tap `after` up to tap `last`, sharing weights; they keep their names."""
        self.select_after(after, [last])
        names = list(self._taps)
        between = names[names.index(after) + 1 : names.index(last) + 1]
        return nn.Sequential(OrderedDict((name, self.get_submodule(name)) for name in between)).eval()

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Entries by order where the names are torchvision's; without the ImageNet classifier."""
        kept = {k: v for k, v in state.items() if not k.startswith("classifier.")}
        if not all(re.fullmatch(r"features\.\d+\.(weight|bias)", k) for k in kept):
            return kept
        order = sorted(kept, key=lambda k: (int(k.split(".")[1]), k.endswith("bias")))
        return {own: kept[given] for own, given in zip(self.state_dict(), order, strict=False)}
