"""Four-dimensional affinity volumes between a query plane and a support plane, and layers on them.

A volume is (B, L, hq, wq, hs, ws): L channels for every pair of a query cell and a support cell.

In memory the channels come last, so that both two-dimensional convolutions read channels-last images: a view over
the support plane, and a copy of whole channel vectors over the query plane.  On a CPU this takes half the time of
channels-first copies and a fifth of that of a three-dimensional convolution.  The layers compute the same numbers for
any memory layout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from .resize import resize

Layer = Callable[[Tensor], Tensor]
"""Anything on images (N, C, h, w)."""


def _keep_gradient_layout(images: Tensor) -> Tensor:
    """Make the gradient of images contiguous with channels last.  The images stay the same.

    Gradients arrive in the layout of the volume.  Without this, the backward passes of the layers use strided loops
    and are several times slower.
    """
    if images.requires_grad:
        images.register_hook(lambda grad: grad.contiguous(memory_format=torch.channels_last))
    return images


def over_query(layer: Layer, volume: Tensor) -> Tensor:
    """Apply a layer on images (N, C, h, w) to the query plane, at every support cell by itself."""
    batch, _, _, _, height, width = volume.shape
    planes = volume.permute(0, 4, 5, 2, 3, 1).flatten(0, 2).permute(0, 3, 1, 2)
    out = torch.unflatten(_keep_gradient_layout(layer(planes)), 0, (batch, height, width))
    return out.permute(0, 3, 4, 5, 1, 2)


def over_support(layer: Layer, volume: Tensor) -> Tensor:
    """Apply a layer on images (N, C, h, w) to the support plane, at every query cell by itself."""
    batch, _, height, width, _, _ = volume.shape
    planes = volume.permute(0, 2, 3, 4, 5, 1).flatten(0, 2).permute(0, 3, 1, 2)
    out = torch.unflatten(_keep_gradient_layout(layer(planes)), 0, (batch, height, width))
    return out.permute(0, 3, 1, 2, 4, 5)


def resize_planes(volume: Tensor, query: Sequence[int], support: Sequence[int]) -> Tensor:
    """Resize the query plane to `query` and the support plane to `support`, bilinearly, corners aligned."""
    if tuple(volume.shape[2:4]) != tuple(query):
        volume = over_query(partial(resize, size=(int(query[0]), int(query[1]))), volume)
    if tuple(volume.shape[4:6]) != tuple(support):
        volume = over_support(partial(resize, size=(int(support[0]), int(support[1]))), volume)
    return volume


def _pairs_last(volume: Tensor) -> Tensor:
    """View the volume as (B, hq * wq * hs * ws, C), without a copy if the channels come last."""
    return volume.permute(0, 2, 3, 4, 5, 1).flatten(1, 4)


def _unflatten(pairs: Tensor, like: Tensor) -> Tensor:
    return torch.unflatten(pairs, 1, like.shape[2:]).movedim(-1, 1)


class VolumeGroupNorm(nn.GroupNorm):
    """Group norm over all pairs of cells of a volume.

    torch's channels-last kernel sums squares in single precision, with errors of 1e-4 and more at these sizes.  Here
    values are centred first, which is exact to rounding and keeps the channels last.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, hq, wq, hs, ws)."""
        pairs = _pairs_last(input)
        centred = pairs - self._group_mean(pairs.mean(dim=1))
        scale = (self._group_mean(centred.square().mean(dim=1)) + self.eps).rsqrt() * self.weight
        return _unflatten(torch.addcmul(self.bias, centred, scale), input)

    def _group_mean(self, channels: Tensor) -> Tensor:
        """Average groups of channels (B, C), and repeat the means for each of their channels: (B, 1, C)."""
        groups = torch.unflatten(channels, 1, (self.num_groups, -1))
        return groups.mean(dim=2, keepdim=True).expand_as(groups).flatten(1).unsqueeze(1)


class VolumeBatchNorm(nn.BatchNorm1d):
    """Batch norm over all pairs of cells of all volumes."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, hq, wq, hs, ws)."""
        pairs = _pairs_last(input)
        return _unflatten(super().forward(pairs.flatten(0, 1)).view_as(pairs), input)


class CentrePivotConv4d(nn.Module):
    """Centre-pivot 4-D convolution (HSNet; at stride 1 also the layer of PMNet's release).

    Of a full 4-D kernel it keeps only the entries with the pivot in the middle of one plane.  This equals the sum of a
    convolution over the query plane and one over the support plane.

    Args:
        inputs: number of channels of the volume.
        outputs: number of channels of the result.
        kernel: side of both kernels, odd.
        stride: stride over the support plane.  The query plane keeps its size.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
        self.conv2 = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2)

    def forward(self, volume: Tensor) -> Tensor:
        """Convolve (B, C, hq, wq, hs, ws) to (B, outputs, hq, wq, ceil(hs/stride), ceil(ws/stride))."""
        pivots = volume[..., :: self.stride, :: self.stride]
        return over_support(self.conv2, volume) + over_query(self.conv1, pivots)
