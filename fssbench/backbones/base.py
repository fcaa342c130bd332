"""What a backbone is to the rest of fssbench: named taps on a frozen network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Tap:
    """A place in a backbone whose output can be asked for."""

    name: str
    """`layer3.5` is the sum of that bottleneck before its last ReLU, `layer3.5.relu` after it."""
    channels: int
    stride: int
    """Input pixels per feature cell."""
    stage: int
    """1 is the first stage after the stem (stride 4 in a plain ResNet)."""


class Backbone(nn.Module, ABC):
    """A frozen network; always in eval mode, its parameters take no gradient.

    Attributes:
        name: id such as `resnet50`.
        layout: `standard`, or the variant a method's reference is built on (`panet`, ...).
        weights: id of the loaded weights (`random`, `v1`, `a1h`, `file`, `reference`).
        weights_sha256: hash of the loaded state dict's bytes; part of every run's identity.
    """

    name: str
    layout: str
    weights: str
    weights_sha256: str

    @property
    @abstractmethod
    def taps(self) -> Mapping[str, Tap]:
        """All taps by name, in network order."""

    @abstractmethod
    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Feature maps of normalised images (B, 3, H, W) at the named taps, each (B, C, h, w)."""

    def train(self, mode: bool = True) -> Backbone:
        """Stay in eval mode whatever is asked: batch norm statistics are frozen."""
        return super().train(False)
