"""The decoder of CANet, which PMMs and a form of ASGNet use: residual pairs, then ASPP.  BAM uses ASPP alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH = 256
"""Channels of every map in the head."""
_RATES = (6, 12, 18)


def make_residual_pair(inputs: int, *, bias: bool) -> nn.Sequential:
    """Make ReLU, 3x3 convolution, ReLU, 3x3 convolution; the caller adds the result to its input."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(inputs, WIDTH, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=bias),
    )


class Context(nn.Module):
    """ASPP: the map's mean, a 1x1 and three dilated 3x3 convolutions, side by side; 5 * 256 channels.

    Args:
        dropout: probability with which a channel is dropped in training.
    """

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        layers = [nn.Conv2d(WIDTH, WIDTH, 1) for _ in range(2)]
        layers += [nn.Conv2d(WIDTH, WIDTH, 3, padding=rate, dilation=rate) for rate in _RATES]
        self.branches = nn.ModuleList(
            nn.Sequential(layer, nn.ReLU(), nn.Dropout2d(dropout)) for layer in layers
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Read maps (B, 256, h, w) at five ranges: (B, 1280, h, w)."""
        first, *others = self.branches
        whole = first(maps.mean(dim=(2, 3), keepdim=True)).expand_as(maps)
        return torch.cat([whole, *(branch(maps) for branch in others)], dim=1)
