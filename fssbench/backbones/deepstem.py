"""ResNet-50 and ResNet-101 with a stem of three 3x3 convolutions, as the semantic segmentation field has them.

Three layouts, of one set of ImageNet files:

- `deepstem`: PFENet, RePRI, ASGNet, SCL.  Layers 3 and 4 dilated by 2 and 4, every block of them;
- `cyctr`: CyCTR, IPMT, AAFormer.  The same, but the first block of each has the rate of the layer before it, as in
  torchvision;
- `ssp`: SSP, IFA.  Layer 3 dilated by 2 but for its first block, no layer 4.

All have output stride 8 from layer 2 on.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fssbench.backbones.resnet import ResNetStages, build_network

FIRST_RATES = {"deepstem": (2, 4), "cyctr": (1, 2), "ssp": (1, None)}
"""Dilation of the first block of layers 3 and 4 by layout; None for a layout without layer 4."""
_STEM = (64, 64, 128)
_STEM_ORDER = ("0", "1", "3", "4", "6", "7")
"""Places of convolutions and norms in `layer0`."""
_FLAT = {"conv1": "0", "bn1": "1", "conv2": "3", "bn2": "4", "conv3": "6", "bn3": "7"}
"""The stem in the files of the semseg project (`resnet50_v2.pth`), by place."""


class DeepStemResNet(ResNetStages):
    """A ResNet whose stem is `layer0`: 3 -> 64 with stride 2, 64 -> 64, 64 -> 128, then a pool.

    State-dict names are those of PFENet's checkpoints, `layer0.{0,1,3,4,6,7}` and `layer{1..4}`.  Taps
    are those of the plain ResNet.
    """

    def __init__(self, name: str, layout: str) -> None:
        super().__init__()
        self.name = name
        self.layout = layout
        network = build_network(name)
        with torch.device("meta"):
            layers: list[nn.Module] = []
            channels = 3
            for place, width in enumerate(_STEM):
                stride = 2 if place == 0 else 1
                layers += [
                    nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                channels = width
            self.layer0 = nn.Sequential(*layers)
            _widen(network.layer1[0], channels)
        self.maxpool = network.maxpool
        self.layer1, self.layer2, self.layer3 = network.layer1, network.layer2, network.layer3
        third, fourth = FIRST_RATES[layout]
        _dilate(self.layer3, 2, first=third)
        if fourth is not None:
            self.layer4 = network.layer4
            _dilate(self.layer4, 4, first=fourth)
        self._taps = self._name_taps({3: 8, 4: 8})
        self.freeze()

    def _stem(self, images: Tensor) -> Tensor:
        out: Tensor = self.maxpool(self.layer0(images))
        return out

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the entries under the names of PFENet, without classifier and unused layers.

        Three namings of the stem are accepted.
        """
        if "layer0.0.0.weight" in state:  # SSP's checkpoints
            stem = {f"layer0.0.{i}": f"layer0.{i}" for i in _STEM_ORDER} | {"layer0.1": "layer0.7"}
        elif "conv1.0.weight" in state:  # the ImageNet file beside SSP
            stem = {f"conv1.{i}": f"layer0.{i}" for i in _STEM_ORDER} | {"bn1": "layer0.7"}
        elif "conv1.weight" in state:
            stem = {theirs: f"layer0.{i}" for theirs, i in _FLAT.items()}
        else:
            stem = {}
        unused = ("fc.",) if hasattr(self, "layer4") else ("fc.", "layer4.")
        renamed = {}
        for name, value in state.items():
            module, _, leaf = name.rpartition(".")
            if not name.startswith(unused):
                renamed[f"{stem.get(module, module)}.{leaf}"] = value
        return renamed


def _widen(block: nn.Module, inputs: int) -> None:
    """Make a bottleneck read `inputs` channels instead of the 64 of a plain stem."""
    for place in ("conv1", "downsample.0"):
        old = block.get_submodule(place)
        assert isinstance(old, nn.Conv2d)
        block.set_submodule(place, nn.Conv2d(inputs, old.out_channels, 1, bias=False))


def _dilate(stage: nn.Module, rate: int, *, first: int) -> None:
    """Replace the strides of a stage by dilation of its 3x3 convolutions; its first block has another rate."""
    for place, block in enumerate(stage.children()):
        for module in block.modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
                if module.kernel_size == (3, 3):
                    here = rate if place else first
                    module.dilation = module.padding = (here, here)
