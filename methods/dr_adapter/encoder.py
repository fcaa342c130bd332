"""A copy of a backbone that learns, cut before each of its first three stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from ..layers.feature_maps import list_stages
from ..layers.finetuned import Trained

if TYPE_CHECKING:
    from fssbench.api import Backbone

_RESNET_STAGES = ("layer1", "layer2", "layer3")


class CutEncoder(Trained):
    """Runs a copy of a backbone up to its third stage, in steps, so that maps can be changed at the cuts between them.

    A ResNet is cut after its stem (pool included) and after stages 1 and 2.  A changed map enters the next stage
    without a further activation.  Other backbones are cut at the last taps before stage 1, of stage 1 and of stage 2.
    If such a tap is before an activation, the activation follows the cut.

    Attributes:
        channels: channels of the maps at the cuts.
        is_resnet: whether the copy is a ResNet.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        last = list_stages(self.network, 3)[2][-1].name
        self._first_cut: str | None = None
        self.is_resnet = set(_RESNET_STAGES) <= dict(self.network.named_children()).keys()
        if self.is_resnet:
            self.channels, self._steps = _cut_resnet(self.network)
        else:
            cuts = _list_cuts(self.network)
            self._first_cut = cuts[0]
            self.channels = tuple(self.network.taps[name].channels for name in cuts)
            ends = zip(cuts, [*cuts[1:], last], strict=True)
            self._steps = [self.network.part(after, end) for after, end in ends]
        deepest = list(self.network.taps)[-1]
        if deepest != last:  # what follows the third stage is not run, so it does not learn
            self.network.part(last, deepest).requires_grad_(False)

    def run(self, images: Tensor, change: Callable[[int, Tensor], Tensor]) -> Tensor:
        """Compute the map (N, C, h, w) of the third stage from normalised images (N, 3, H, W).

        Args:
            images: the images.
            change: gives what replaces a map, from the number of its cut and the map.
        """
        maps = self._start(images)
        for cut, step in enumerate(self._steps):
            maps = step(change(cut, maps))
        return maps

    def _start(self, images: Tensor) -> Tensor:
        """Compute the map at the first cut."""
        if self._first_cut is not None:
            return self.network(images, (self._first_cut,))[self._first_cut]
        parts = dict(self.network.named_children())
        if "layer0" in parts:
            maps = parts["layer0"](images)
        else:
            maps = functional.relu(parts["bn1"](parts["conv1"](images)))
        pooled: Tensor = parts["maxpool"](maps)
        return pooled


def _cut_resnet(network: Backbone) -> tuple[tuple[int, ...], list[nn.Module]]:
    """Return the channels at the cuts of a ResNet, and its stages as modules, the third with a signed output.

    `Backbone.part` would first cut off what is negative in a changed map.
    """
    first, second, third = (network.get_submodule(name) for name in _RESNET_STAGES)
    *before, end = (f"layer3.{name}" for name, _ in third.named_children())
    blocks = [network.get_submodule(name) for name in before]
    reader = network.get_submodule("layer1.0.conv1")
    assert isinstance(reader, nn.Conv2d)
    channels = (reader.in_channels, *(network.taps[_last_block(network, s)].channels for s in (1, 2)))
    return channels, [first, second, nn.Sequential(*blocks, network.part(before[-1], end))]


def _last_block(network: Backbone, stage: int) -> str:
    return list_stages(network, stage)[stage - 1][-1].name


def _list_cuts(network: Backbone) -> list[str]:
    """Name the last tap before stage 1, if there is one, and the last taps of stages 1 and 2."""
    early = []
    for tap in network.taps.values():
        if tap.stage > 0:
            break
        early.append(tap.name)
    return [*early[-1:], *(_last_block(network, stage) for stage in (1, 2))]
