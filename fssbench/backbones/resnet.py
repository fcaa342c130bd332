"""ResNet-50 and ResNet-101 of torchvision (7x7 stem, no dilation), with a tap around every last ReLU."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torchvision.models import resnet50, resnet101
from torchvision.models.resnet import Bottleneck, ResNet as Network

from fssbench.api import Backbone, Tap

_NETWORKS = {"resnet50": resnet50, "resnet101": resnet101}


class _NothingDrawn(TorchFunctionMode):
    """Context in which `normal_` does nothing: on the meta device it would import torch's compiler, for two seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func is Tensor.normal_ else func(*args, **(kwargs or {}))


def build_network(name: str) -> Network:
    """Build a network of torchvision on the meta device: its weights have no values, and none are drawn."""
    with torch.device("meta"), _NothingDrawn():
        network: Network = _NETWORKS[name](weights=None)
    return network


class ResNetStages(Backbone):
    """Base of all ResNets here: bottlenecks from `layer1` on, with a tap before and after each last ReLU.

    Taps are `layer{s}.{i}`, the sum of a bottleneck before its last ReLU, and `layer{s}.{i}.relu`
    after it.  Only the layers up to the deepest requested tap are run.
    """

    _taps: dict[str, Tap]

    @abstractmethod
    def _stem(self, images: Tensor) -> Tensor:
        """Compute the input of the first bottleneck, (B, C, h, w)."""

    def _blocks(self) -> list[tuple[str, int, Bottleneck]]:
        return [
            (f"{name}.{i}", int(name.removeprefix("layer")), block)
            for name, stage in self.named_children()
            for i, block in enumerate(stage.children())
            if isinstance(block, Bottleneck)
        ]

    def _name_taps(self, strides: Mapping[int, int]) -> dict[str, Tap]:
        """Return the taps; a stage that is not in `strides` has stride 2 ** (stage + 1)."""
        return {
            tap: Tap(tap, block.conv3.out_channels, strides.get(stage, 2 ** (stage + 1)), stage)
            for name, stage, block in self._blocks()
            for tap in (name, f"{name}.relu")
        }

    @property
    def taps(self) -> Mapping[str, Tap]:
        """Return all taps by name, in network order."""
        return self._taps

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Compute the feature maps (B, C, h, w) of normalised images (B, 3, H, W) at the named taps."""
        wanted = self.select(taps)
        maps = _run(self._stem(images), self._blocks(), wanted)
        return {tap: maps[tap] for tap in taps}

    def resume(self, features: Tensor, after: str, taps: Sequence[str]) -> dict[str, Tensor]:
        """Continue the forward pass after tap `after` with replaced features (B, C, h, w)."""
        wanted = self.select_after(after, taps)
        blocks = self._blocks()
        done = [name for name, _, _ in blocks].index(after.removesuffix(".relu")) + 1
        activated = functional.relu(features)  # no effect if `after` is after the ReLU
        maps = _run(activated, blocks[done:], wanted)
        if f"{after}.relu" in wanted:
            maps[f"{after}.relu"] = activated
        return {tap: maps[tap] for tap in taps}

    def part(self, after: str, last: str) -> nn.Module:
        """Return the bottlenecks after tap `after` up to tap `last`; they share their weights and keep their names."""
        self.select_after(after, [last])
        names = [name for name, _, _ in self._blocks()]
        first, end = (names.index(tap.removesuffix(".relu")) + 1 for tap in (after, last))
        return _Part([(stage, block) for _, stage, block in self._blocks()[first:end]], last).eval()

    def branch_ends(self) -> list[nn.BatchNorm2d]:
        """Return the third norm of every bottleneck."""
        return [block.bn3 for _, _, block in self._blocks()]


class _Part(nn.Module):
    """A sequence of bottlenecks, grouped by stage as in the network."""

    def __init__(self, blocks: Sequence[tuple[int, Bottleneck]], last: str) -> None:
        super().__init__()
        for stage in dict.fromkeys(stage for stage, _ in blocks):
            self.add_module(f"layer{stage}", nn.Sequential(*(b for s, b in blocks if s == stage)))
        self.activated = last.endswith(".relu")

    def forward(self, features: Tensor) -> Tensor:
        """Compute the map (B, C, h, w) of the last tap from the map before the first bottleneck, signed or not."""
        before = features
        for stage in self.children():
            for block in stage.children():
                assert isinstance(block, Bottleneck)
                before = _residual_sum(block, functional.relu(before))
        return functional.relu(before) if self.activated else before


class ResNet(ResNetStages):
    """A torchvision ResNet without its classifier; the state dict has torchvision's names."""

    network: ClassVar[str]
    """Name of the constructor in torchvision."""

    def __init__(self) -> None:
        super().__init__()
        network = build_network(self.network)
        self.conv1 = network.conv1
        self.bn1 = network.bn1
        self.maxpool = network.maxpool
        for stage in ("layer1", "layer2", "layer3", "layer4"):
            self.add_module(stage, getattr(network, stage))
        self._taps = self._name_taps({})
        self.freeze()

    def _stem(self, images: Tensor) -> Tensor:
        out: Tensor = self.maxpool(functional.relu_(self.bn1(self.conv1(images))))
        return out

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the entries without the ImageNet classifier `fc`."""
        return {k: v for k, v in state.items() if not k.startswith("fc.")}


def _run(x: Tensor, blocks: list[tuple[str, int, Bottleneck]], wanted: set[str]) -> dict[str, Tensor]:
    """Compute the wanted taps of these blocks; blocks after the deepest one are not run."""
    maps: dict[str, Tensor] = {}
    for name, _, block in blocks:
        if len(maps) == len(wanted):
            break
        before = _residual_sum(block, x)
        x = functional.relu(before)
        maps.update({k: v for k, v in ((name, before), (f"{name}.relu", x)) if k in wanted})
    return maps


def _residual_sum(block: Bottleneck, x: Tensor) -> Tensor:
    """Compute the output of a bottleneck before its last ReLU; the module itself returns the output after it."""
    out: Tensor = functional.relu_(block.bn1(block.conv1(x)))
    out = functional.relu_(block.bn2(block.conv2(out)))
    out = block.bn3(block.conv3(out))
    out += x if block.downsample is None else block.downsample(x)
    return out
