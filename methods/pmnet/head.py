"""The learnable parts of PMNet: affinity enhancement, coarse map encoders, fusion and classifier.

Letters and numbers follow section 3 and figures 2 and 3 of the paper.  `method.py` maps the names of the authors'
release.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..layers.resize import apply_to_resized, double_size, read_size, resize
from ..layers.volume import CentrePivotConv4d, VolumeBatchNorm, add_up, apply_over_query, apply_over_support

WIDTH = 16
"""Number of channels of the enhanced affinity."""
KERNELS = (5, 3)
"""Kernels of the two B3DConv layers."""


class TwoBranchEnhancement(nn.Module):
    """B3DConvs of the paper (Eq. 2): the sum of a branch along the query plane and one along the support plane.

    With equal weights in both branches, swapping query and support transposes the result.

    Args:
        taps: number of channels of the affinity.
    """

    def __init__(self, taps: int) -> None:
        super().__init__()
        self.query = _make_plane_branch(taps)
        self.support = _make_plane_branch(taps)

    def forward(self, affinity: Tensor) -> Tensor:
        """Enhance (B, L, hq, wq, hs, ws) to (B, 16, hq, wq, hs, ws)."""
        return add_up(apply_over_support(self.support, affinity), apply_over_query(self.query, affinity))


class PlaneBranch(nn.Sequential):
    """Convolution, batch norm and ReLU, repeatedly.  In evaluation each batch norm is part of its convolution."""

    def forward(self, input: Tensor) -> Tensor:
        """Transform images (N, C, h, w); the plane keeps its size."""
        layers = list(self)
        for layer, following in zip_longest(layers, layers[1:]):
            if self.training or not isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
                input = layer(input)
            elif isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                input = _convolve_and_norm(layer, following, input)
        return input


def _convolve_and_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d, images: Tensor) -> Tensor:
    """Apply a convolution whose weights contain the batch norm that follows, with its running statistics."""
    assert conv.bias is not None  # `_make_plane_branch` makes it with a bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    bias = (conv.bias - norm.running_mean) * scale + norm.bias
    return functional.conv2d(images, conv.weight * scale[:, None, None, None], bias, padding=conv.padding)


def _make_plane_branch(taps: int) -> PlaneBranch:
    """Make two layers on images of one plane.  Batch norm over all images equals batch norm over the volume."""
    layers: list[nn.Module] = []
    for inputs, kernel in zip((taps, WIDTH), KERNELS, strict=True):
        conv = nn.Conv2d(inputs, WIDTH, kernel, padding=kernel // 2)
        layers += [conv, nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True)]
    return PlaneBranch(*layers)


def make_pivot_enhancement(taps: int, norm: type[nn.Module]) -> nn.Sequential:
    """Make B3DConvs of the release: each layer sums both directions, then one norm and ReLU follow."""
    layers: list[nn.Module] = []
    for inputs, kernel in zip((taps, WIDTH), KERNELS, strict=True):
        scale = norm(WIDTH) if norm is VolumeBatchNorm else norm(4, WIDTH)
        layers += [CentrePivotConv4d(inputs, WIDTH, kernel), scale, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def compute_coarse_map(affinities: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Compute the softmax over all cells of all K supports, then the mean of their mask values (Eq. 3).

    Background cells are part of the softmax, so they take attention from the object's cells.

    Args:
        affinities: K affinities (B, heads, C, hq, wq, hs, ws).
        mask: support masks at feature size (B, K, hs, ws), values 0..1.

    Returns:
        Share of foreground in each query cell, per channel, averaged over heads: (B, C, hq, wq).
    """
    # (B, heads, hq, wq, M, C)
    pairs = [each.permute(0, 1, 3, 4, 5, 6, 2).flatten(4, 5) for each in affinities]
    cells = mask.flatten(1)[:, None, None, None, None]
    # a processor finds the affinities of one row of the query plane in its cache, a GPU would wait for each row
    at_once = 1 if mask.device.type == "cpu" else pairs[0].shape[2]
    rows = [
        torch.matmul(cells, (row[0] if len(row) == 1 else torch.cat(row, dim=4)).softmax(dim=4)).squeeze(4)
        for row in zip(*(each.split(at_once, dim=2) for each in pairs), strict=True)
    ]
    return torch.cat(rows, dim=2).mean(dim=1).movedim(-1, 1)


def _make_conv(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2),
        nn.GroupNorm(4, outputs),
        nn.ReLU(inplace=True),
    )


class CoarseEncoder(nn.Module):
    """Conv1: maps a coarse map to 64 channels.  A 3x3 and a 1x1 path double the channels twice.

    Args:
        inputs: number of channels of the coarse map: 16, or the number of taps without B3DConvs.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.a = _make_conv(inputs, 16, 3)
        self.b3 = _make_conv(16, 16, 3)
        self.b1 = _make_conv(16, 16, 1)
        self.c3 = _make_conv(32, 32, 3)
        self.c1 = _make_conv(32, 32, 1)
        self.out = _make_conv(64, 64, 1)

    def forward(self, coarse: Tensor) -> Tensor:
        """Encode (B, inputs, h, w) to (B, 64, h, w)."""
        a = self.a(coarse)
        b = torch.cat([self.b3(a), self.b1(a)], dim=1)
        c = torch.cat([self.c3(b), self.c1(b)], dim=1)
        out: Tensor = self.out(c)
        return out


class Refinement(nn.Module):
    """Conv2: splits 64 channels into halves.  One half passes 3x3 convolutions and is split again."""

    def __init__(self) -> None:
        super().__init__()
        self.q3 = _make_conv(32, 32, 3)
        self.p1 = _make_conv(32, 32, 1)
        self.t3 = _make_conv(16, 16, 3)
        self.r1 = _make_conv(16, 16, 1)
        self.tt3 = _make_conv(16, 16, 3)
        self.out = _make_conv(64, 64, 3)

    def forward(self, fused: Tensor) -> Tensor:
        """Refine (B, 64, h, w)."""
        p, q = fused.chunk(2, dim=1)
        r, t = self.q3(q).chunk(2, dim=1)
        joined = torch.cat([self.p1(p), self.r1(r), self.tt3(self.t3(t))], dim=1)
        out: Tensor = self.out(joined)
        return out


def _make_pair(inputs: int, hidden: int, outputs: int, *, last: bool = False) -> nn.Sequential:
    layers = [
        nn.Conv2d(inputs, hidden, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, outputs, 3, padding=1),
    ]
    return nn.Sequential(*layers, *([] if last else [nn.ReLU(inplace=True)]))


class Classifier(nn.Module):
    """Decodes the fused map and the query features of the two shallow stages to logits.

    Args:
        shallow: number of channels of the first stage's tap.
        deeper: number of channels of the second stage's tap.
    """

    def __init__(self, shallow: int, deeper: int) -> None:
        super().__init__()
        self.mix1 = _make_pair(64 + deeper + shallow, 64, 32)
        self.mix2 = _make_pair(32, 32, 16)
        self.mix3 = _make_pair(16, 16, 2, last=True)

    def forward(self, fused: Tensor, deeper: Tensor, shallow: Tensor) -> Tensor:
        """Compute logits (B, 2, 4h, 4w), where (h, w) is the plane of the first stage's tap."""
        mixed = apply_to_resized(self.mix1, torch.cat([fused, deeper], dim=1), shallow)
        logits: Tensor = self.mix3(double_size(self.mix2(double_size(mixed))))
        return logits


class Fusion(nn.Module):
    """Fuses the coarse encodings of two stages to one map, on the plane of the classifier's deeper tap."""

    def __init__(self) -> None:
        super().__init__()
        self.refine1 = Refinement()
        self.refine2 = Refinement()

    def forward(self, low: Tensor, high: Tensor, size: tuple[int, int]) -> Tensor:
        """Fuse the encodings of the last stage, `low`, and of the stage before, `high`: (B, 64, *size)."""
        fused = self.refine1(resize(low, read_size(high)) + high)
        out: Tensor = self.refine2(resize(fused, size))
        return out
