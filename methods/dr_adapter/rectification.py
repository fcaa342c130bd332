"""Channel statistics of feature maps, and the adapter that corrects those of an image.

The statistics are mean and variance.  The paper writes standard deviations where the code has variances.  The code is
followed here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

SMALLEST_SIDE = 38
"""Smallest side of a map, in cells, that an adapter can read.  Its convolutions take 36 cells from each side, and the
variance of one cell is undefined."""
_EPS = 1e-6
_KERNEL, _DILATION = 7, 2


class Statistics(NamedTuple):
    """Mean and variance of each channel over the cells."""

    mean: Tensor
    """(B, C, 1, 1)"""
    variance: Tensor
    """(B, C, 1, 1), with divisor N - 1."""


class Rectified(NamedTuple):
    """What a rectification gives."""

    maps: Tensor
    """(B, C, h, w)"""
    statistics: Statistics
    """The statistics that the adapter asked for.  Those of `maps` differ a little: the variance is divided by itself
    plus 1e-6."""


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each cell.

    Args:
        channels: channels of the maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Norm maps (B, C, h, w)."""
        cells = maps.permute(0, 2, 3, 1)
        normed = functional.layer_norm(cells, self.weight.shape, self.weight, self.bias, _EPS)
        return normed.permute(0, 3, 1, 2)


class Adapter(nn.Sequential):
    """Three convolutions without padding.  Mean and variance of its output say how to change those of its input.

    Args:
        channels: channels of the maps.
    """

    def __init__(self, channels: int) -> None:
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [_make_convolution(channels), ChannelNorm(channels), nn.ReLU()]
        super().__init__(*layers, _make_convolution(channels))


def measure(maps: Tensor) -> Statistics:
    """Measure the statistics of maps (B, C, h, w) with at least two cells."""
    variance, mean = torch.var_mean(maps.float(), dim=(2, 3), keepdim=True)
    return Statistics(mean, variance)


def replace_statistics(maps: Tensor, old: Statistics, new: Statistics) -> Tensor:
    """Move maps (B, C, h, w) from their old statistics to new ones."""
    return (maps - old.mean) / (_EPS + old.variance) * new.variance + new.mean


def rectify(maps: Tensor, adapter: nn.Module) -> Rectified:
    """Give maps (B, C, h, w) the statistics that an adapter asks for."""
    old = measure(maps)
    new = ask_adapter(maps, old, adapter)
    return Rectified(replace_statistics(maps, old, new), new)


def ask_adapter(maps: Tensor, statistics: Statistics, adapter: nn.Module) -> Statistics:
    """Compute the statistics that maps (B, C, h, w) should have.  No gradient reaches the maps through the adapter.

    Both are multiplied by one plus a number of the adapter.  That of the variance is itself a variance, and not
    negative.
    """
    change = measure(adapter(maps.detach()))
    return Statistics((1 + change.mean) * statistics.mean, (1 + change.variance) * statistics.variance)


def _make_convolution(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, _KERNEL, dilation=_DILATION)
