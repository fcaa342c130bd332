"""The learnable parts of VAT: volumetric embeddings, the transformer pyramid and the guided decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..layers.resize import double_size
from ..layers.volume import (
    VolumeGroupNorm,
    add_up,
    apply_over_query,
    apply_over_support,
    resize_planes,
    sum_biases,
    surround,
)
from .pooling import REACH, Pooled, Strides, pool_volume
from .swin import Swin

WIDTH = 128
"""Channels of embedded volumes."""
_GUIDE = (64, 32, 16)
"""Channels of projected query features, coarse first."""
_EMBEDDING = (
    # (channels, groups, stride over the query plane, stride over the support plane) of each layer, coarse first
    ((64, 4, 2, 1), (WIDTH, 8, 1, 2)),
    ((64, 4, 2, 2), (WIDTH, 8, 1, 2)),
    ((32, 2, 2, 2), (64, 4, 1, 2), (WIDTH, 8, 1, 2)),
)
STRIDES: tuple[Strides, ...] = tuple((layers[0][2], layers[0][3]) for layers in _EMBEDDING)
"""Strides of the first layer of each volume, coarse first."""
_DEPTHS = (4, 2, 2)


class PooledConv4d(nn.Module):
    """Sums two 2-D convolutions, one over each plane.  The other plane is max-pooled by its stride first.

    Args:
        inputs: number of channels of the volume.
        outputs: number of channels of the result.
        query_stride: stride over the query plane.
        support_stride: stride over the support plane.
    """

    def __init__(self, inputs: int, outputs: int, query_stride: int, support_stride: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(inputs, outputs, 2 * REACH + 1, stride=query_stride, padding=REACH)
        self.support = nn.Conv2d(inputs, outputs, 2 * REACH + 1, stride=support_stride, padding=REACH)
        self.strides = query_stride, support_stride

    def forward(self, volume: Tensor | Pooled) -> Tensor:
        """Convolve (B, C, hq, wq, hs, ws), or such a volume that is pooled.

        The sides of each plane must be multiples of its stride.
        """
        pooled = volume if isinstance(volume, Pooled) else pool_volume(volume, self.strides)
        over_support = apply_over_support(self.support, pooled.support)
        inside = add_up(over_support, apply_over_query(self.query, pooled.query))
        if pooled.window is None:
            return inside
        corner = pooled.window.rows.start, pooled.window.columns.start
        return surround(inside, sum_biases(self.query, self.support), pooled.window.plane, corner)


class Embedding(nn.Sequential):
    """Pooled 4-D convolutions, each with a group norm and ReLU."""

    def forward(self, input: Pooled) -> Tensor:
        """Embed a volume that is pooled by the strides of the first convolution: (B, C, hq', wq', hs', ws')."""
        volume: Pooled | Tensor = input
        for block in self:
            assert isinstance(block, nn.Sequential)
            conv, norm, _ = block
            assert isinstance(norm, VolumeGroupNorm)
            volume = norm.normalise_and_bound(conv(volume))
        assert isinstance(volume, Tensor)
        return volume


def _make_embedding(inputs: int, layers: Sequence[tuple[int, int, int, int]]) -> Embedding:
    modules: list[nn.Module] = []
    for channels, groups, query_stride, support_stride in layers:
        conv = PooledConv4d(inputs, channels, query_stride, support_stride)
        modules.append(nn.Sequential(conv, VolumeGroupNorm(groups, channels), nn.ReLU(inplace=True)))
        inputs = channels
    return Embedding(*modules)


class VATHead(nn.Module):
    """Maps three cosine volumes and the query's features, coarse first, to logits.

    Args:
        taps: numbers of channels of the volumes.
        features: numbers of channels of the query features.
        guidance: which of the features guide the decoder.  The projections of the others have parameters too.
    """

    def __init__(
        self, taps: Sequence[int], features: Sequence[int], guidance: tuple[bool, bool, bool]
    ) -> None:
        super().__init__()
        self.guidance = guidance
        self.embed = nn.ModuleList(
            _make_embedding(n, layers) for n, layers in zip(taps, _EMBEDDING, strict=True)
        )
        self.mix = nn.ModuleList(Swin(WIDTH, depth, 4, 4, 4, last_norm=False) for depth in _DEPTHS)
        self.guide = nn.ModuleList(
            nn.Sequential(nn.Conv2d(n, width, 1), nn.ReLU(inplace=True))
            for n, width in zip(features, _GUIDE, strict=True)
        )
        first, second, third = (
            width + used * extra for width, used, extra in zip((WIDTH, 96, 48), guidance, _GUIDE, strict=True)
        )
        self.refine = nn.ModuleList(Swin(width, 2, 4, 8, 2) for width in (first, second, third))
        self.reduce = nn.ModuleList([nn.Conv2d(first, 96, 1), nn.Conv2d(second, 48, 1)])
        self.decode = nn.Sequential(
            nn.Conv2d(third, 32, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(32, 2, 3, padding=1)
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, volumes: Sequence[Pooled], features: Sequence[Tensor]) -> Tensor:
        """Compute logits (B, 2, h, w).

        Args:
            volumes: cosines, coarse first, pooled by `STRIDES`.  Each plane has twice the side of the one before.
            features: query features (B, C, h, w), coarse first.  The coarse ones have the side of the middle
                volume, and the
                side doubles with each further one.
        """
        x = self._decode_volume(volumes)
        guides = [
            functional.dropout2d(guide(maps), 0.5, self.training and level < 2) if used else None
            for level, (guide, maps, used) in enumerate(zip(self.guide, features, self.guidance, strict=True))
        ]
        for level, (refine, maps) in enumerate(zip(self.refine, guides, strict=True)):
            if level:
                x = self.reduce[level - 1](x)
                x = double_size(x)
            if maps is not None:
                x = torch.cat([x, maps], dim=1)
            x = x + refine(x)
        logits: Tensor = self.decode(x)
        return logits

    def _decode_volume(self, volumes: Sequence[Pooled]) -> Tensor:
        """Decode the pyramid from coarse to fine, and average over the support plane: (B, 128, h, w)."""
        mixed: Tensor | None = None
        for embed, mix, volume in zip(self.embed, self.mix, volumes, strict=True):
            embedded: Tensor = embed(volume)
            if mixed is not None:
                embedded = embedded + resize_planes(mixed, embedded.shape[2:4], embedded.shape[4:6])
            mixed = embedded + mix(embedded)
        assert mixed is not None
        return mixed.mean(dim=(4, 5))
