"""The head of PSPNet (Zhao et al., CVPR 2017), which RePRI and BAM train on the base classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .resize import read_size, resize

_BINS = (1, 2, 3, 6)
POOLED_WIDTH = 512
"""Channels after the bottleneck."""


class PyramidPooling(nn.Module):
    """Averages over 1, 2, 3 and 6 bins a side beside the map itself, then a bottleneck (PSPNet)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = channels // len(_BINS)
        self.pools = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            for _ in _BINS
        )
        self.bottleneck = nn.Sequential(
            nn.Conv2d(channels + width * len(_BINS), POOLED_WIDTH, 3, padding=1, bias=False),
            nn.BatchNorm2d(POOLED_WIDTH),
            nn.ReLU(),
            nn.Dropout2d(0.1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Features (B, 512, h, w) from maps (B, C, h, w)."""
        pooled = (
            pool(functional.adaptive_avg_pool2d(maps, b)) for pool, b in zip(self.pools, _BINS, strict=True)
        )
        out: Tensor = self.bottleneck(
            torch.cat([maps, *(resize(each, read_size(maps)) for each in pooled)], dim=1)
        )
        return out
