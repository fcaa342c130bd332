"""The task head of ABCDFSS, which reads the maps of one backbone tap."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 64
"""Channels of a head's output."""


class TaskHead(nn.Module):
    """1x1 convolution to 64 channels, batch norm, ReLU, 1x1 convolution.

    The norm keeps no statistics and always uses those of its input.  The query and the set of supports are therefore
    normalised separately, as in the reference.

    Args:
        channels: number of channels of the maps.
        generator: generator on the CPU that draws the start weights (PyTorch's default distribution).
    """

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        with torch.device("meta"):  # whose constructors draw from no generator
            self.conv = nn.Conv2d(channels, WIDTH, 1)
            self.bn = nn.BatchNorm2d(WIDTH, track_running_stats=False)
            self.linear = nn.Conv2d(WIDTH, WIDTH, 1)
        self.to_empty(device="cpu")
        self.bn.reset_parameters()
        with torch.no_grad():
            for layer, fan_in in ((self.conv, channels), (self.linear, WIDTH)):
                for values in layer.parameters():
                    values.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)

    def forward(self, maps: Tensor) -> Tensor:
        """Describe maps (N, C, h, w) in 64 channels: (N, 64, h, w)."""
        described: Tensor = self.linear(functional.relu(self.bn(self.conv(maps))))
        return described
