"""A backbone of four convolutions, for tests that ask much of a method and nothing of its backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from registries import add_lazily
from torch import Tensor, nn

from fssbench.api import Backbone, BackboneCard, Method, Tap
from fssbench.plugins.registry import BACKBONES
from fssbench.testing import CheckResult, check_method

CHANNELS = (16, 24, 32, 40)


class SmallBackbone(Backbone):
    """Taps `stage1` to `stage4` before the activation, strides 4 to 32; it can be resumed and taken apart."""

    card = BackboneCard(name="small", title="Small", licence="Apache-2.0")

    def __init__(self) -> None:
        super().__init__()
        self._taps = {
            f"stage{number}": Tap(f"stage{number}", channels, 2 ** (number + 1), number)
            for number, channels in enumerate(CHANNELS, start=1)
        }
        self.blocks = nn.ModuleDict()
        inputs = 3
        with torch.device("meta"):
            for tap in self._taps.values():
                first = [] if inputs == 3 else [nn.ReLU()]
                conv = nn.Conv2d(inputs, tap.channels, 3, stride=2 if first else 4, padding=1)
                self.blocks[tap.name] = nn.Sequential(*first, conv)
                inputs = tap.channels
        self.freeze()

    @property
    def taps(self) -> Mapping[str, Tap]:
        return self._taps

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        self.select(taps)
        return self._run(images, list(self._taps), taps)

    def resume(self, features: Tensor, after: str, taps: Sequence[str]) -> dict[str, Tensor]:
        return self._run(features, self._list_deeper(after), taps)

    def part(self, after: str, last: str) -> nn.Module:
        deeper = self._list_deeper(after)
        return nn.Sequential(*(self.blocks[name] for name in deeper[: deeper.index(last) + 1]))

    def _list_deeper(self, after: str) -> list[str]:
        names = list(self._taps)
        return names[names.index(after) + 1 :]

    def _run(self, maps: Tensor, blocks: Sequence[str], taps: Sequence[str]) -> dict[str, Tensor]:
        result = {}
        for name in blocks:
            result[name] = maps = self.blocks[name](maps)
        return {tap: result[tap] for tap in taps}


def register_small_backbone() -> str:
    """Register the backbone for the time of the test, and return its name."""
    name = SmallBackbone.card.name
    if name not in BACKBONES.names():
        add_lazily(BACKBONES, name, "tests", lambda: SmallBackbone)
    return name


def check_on_small_backbone(cls: type[Method]) -> list[CheckResult]:
    """Check a method class against the contract, on the small backbone if it takes one."""
    return check_method(cls, register_small_backbone() if cls.needs_backbone else None, size=48)
