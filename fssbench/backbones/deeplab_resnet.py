"""ResNet-50 and ResNet-101 of the first DeepLab, which the PMMs family uses (Yang-Bob/PMMs)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from fssbench.backbones.resnet import ResNetStages, build_network


class DeepLabResNet(ResNetStages):
    """A ResNet of three stages, stride 8, whose blocks stride in their first convolution, not in the 3x3 one.

    Its first pool rounds up; stage 3 is dilated by 2.  Names are torchvision's, and so are the weights, though
    these were trained with strides in the 3x3 convolutions.
    """

    layout = "deeplab"

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        network = build_network(name)
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
        """Return the entries without the fourth stage and the ImageNet classifier."""
        return {k: v for k, v in state.items() if not k.startswith(("layer4.", "fc."))}


def _first_convolution(stage: nn.Module) -> nn.Conv2d:
    """Return the convolution on the identity branch of the first block of a stage."""
    convolution = stage.get_submodule("0.downsample.0")
    assert isinstance(convolution, nn.Conv2d)
    return convolution
