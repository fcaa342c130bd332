"""Heads as their reference implementations compute them: the plain operators that the optimised ones are compared with.

Inside `in_reference_order` every method computes volumes with channels first and a copy for each convolution, native
norms, cosines of all cells, attention of all heads at once, and averages of features at image size.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from fssbench.methods.dcama import MaskAttention
from fssbench.methods.hsnet import WHOLE, HypercorrelationHead
from fssbench.methods.layers import correlation, prototypes, resize as resizing, volume
from fssbench.methods.layers.resize import Size, read_size
from fssbench.methods.panet import prototype
from fssbench.methods.pmnet import head
from fssbench.methods.vat import pooling
from fssbench.methods.vat.swin import Swin, WindowAttention
from torch import Tensor, nn
from torch.nn import functional

Layer = Callable[[Tensor], Tensor]


def apply_over_query(layer: Layer, maps: Tensor) -> Tensor:
    """Apply a layer to a contiguous copy of each query plane, channels first."""
    batch, _, _, _, height, width = maps.shape
    planes = maps.permute(0, 4, 5, 1, 2, 3).contiguous().flatten(0, 2)
    return layer(planes).unflatten(0, (batch, height, width)).permute(0, 3, 4, 5, 1, 2).contiguous()


def apply_over_support(layer: Layer, maps: Tensor) -> Tensor:
    """Apply a layer to a contiguous copy of each support plane, channels first."""
    batch, _, height, width, _, _ = maps.shape
    planes = maps.permute(0, 2, 3, 1, 4, 5).contiguous().flatten(0, 2)
    return layer(planes).unflatten(0, (batch, height, width)).permute(0, 3, 1, 2, 4, 5).contiguous()


def add_up(one: Tensor, other: Tensor) -> Tensor:
    """Add two volumes into a third one."""
    return one + other


def scale_to_unit(vectors: Tensor, dim: int = 1, *, eps: float) -> Tensor:
    """Divide vectors by their length plus `eps`."""
    return vectors / (vectors.norm(dim=dim, p=2, keepdim=True) + eps)


def multiply_pairs(
    query: Sequence[Tensor],
    support: Sequence[Tensor],
    *,
    at_least: float | None = None,
    prepare: Layer = correlation.keep,
    bounded: bool = False,
) -> Tensor:
    """Multiply every query cell with every support cell: (B, L, hq, wq, hs, ws), channels first."""
    products = [
        torch.bmm(prepare(q.flatten(2)).transpose(1, 2), prepare(s.flatten(2))).view(
            -1, *q.shape[2:], *s.shape[2:]
        )
        for q, s in zip(query, support, strict=True)
    ]
    volume = torch.stack(products, dim=1)
    return volume if at_least is None else volume.clamp(min=at_least)


def resize(maps: Tensor, size: Size, *, align_corners: bool = True) -> Tensor:
    """Resize maps in the layout that they have."""
    if read_size(maps) == size:
        return maps
    return functional.interpolate(maps, size, mode="bilinear", align_corners=align_corners)


def convolve_resized(conv: nn.Conv2d, low: Tensor, high: Tensor) -> Tensor:
    """Resize maps, put others beside them, and convolve them."""
    return conv(torch.cat([resize(low, read_size(high)), high], dim=1))


def compute_coarse_map(affinities: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Softmax over the cells of all supports side by side, then the mean of their mask values."""
    pairs = torch.stack(list(affinities), dim=5).flatten(5)  # (B, heads, C, hq, wq, K * hs * ws)
    return (pairs.softmax(dim=-1) * mask.flatten(1)[:, None, None, None, None]).sum(dim=-1).mean(dim=1)


def apply_in_turn(self: nn.Sequential, input: Tensor) -> Tensor:
    """Apply each layer."""
    for layer in self:
        input = layer(input)
    return input


def compute_cell_average(features: Tensor, mask: Tensor, eps: float = 1e-5) -> Tensor:
    """Average features (B, K, C, h, w), resized to the mask, over its pixels: (B, K, C)."""
    large = functional.interpolate(features.flatten(0, 1), mask.shape[-2:], mode="bilinear")
    weights = mask.flatten(0, 1).unsqueeze(1)
    averages = (large * weights).sum(dim=(2, 3)) / (weights.sum(dim=(2, 3)) + eps)
    return averages.unflatten(0, mask.shape[:2])


def normalise_groups(self: volume.VolumeGroupNorm, input: Tensor) -> Tensor:
    """Group norm of torch on channels first."""
    return functional.group_norm(input.contiguous(), self.num_groups, self.weight, self.bias, self.eps)


def normalise_and_clamp(self: volume.VolumeGroupNorm, volume: Tensor) -> Tensor:
    """Norm and ReLU after each other."""
    return self(volume).relu()


def gather_masks(self: MaskAttention, query: Tensor, support: Tensor, values: Tensor) -> Tensor:
    """Attend with all heads at once, mask values repeated for each head."""
    asked, keys = (
        layer(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        for layer, tokens in ((self.query, query), (self.key, support))
    )
    scores = torch.matmul(asked, keys.transpose(-2, -1)) / asked.shape[-1] ** 0.5
    repeated = values[:, None, :, None].repeat(1, self.heads, 1, 1)
    return torch.matmul(scores.softmax(dim=-1), repeated).mean(dim=1).squeeze(-1)


def pool_cosines(
    query: Sequence[Tensor], support: Sequence[Tensor], strides: pooling.Strides
) -> pooling.Pooled:
    """Compute a volume and pool it."""
    return pooling.pool_volume(
        multiply_pairs(query, support, at_least=0, prepare=correlation.scale_cells), strides
    )


def attend_in_windows(self: WindowAttention, windows: Tensor, mask: Tensor | None) -> Tensor:
    """Attend within windows with all heads at once."""
    batch, count, cells, channels = windows.shape
    qkv = self.qkv(windows).view(batch * count, cells, 3, self.heads, channels // self.heads)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    scores = scores + self.bias_table[self.index.view(-1)].view(cells, cells, -1).permute(2, 0, 1)
    if mask is not None:
        scores = (scores.unflatten(0, (batch, count)) + mask[None, :, None]).flatten(0, 1)
    out = (scores.softmax(dim=-1) @ value).transpose(1, 2).reshape(batch, count, cells, channels)
    return self.proj(out)


FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    volume.apply_over_query: apply_over_query,
    volume.apply_over_support: apply_over_support,
    prototypes.scale_to_unit: scale_to_unit,
    correlation.multiply_pairs: multiply_pairs,
    resizing.resize: resize,
    resizing.convolve_resized: convolve_resized,
    pooling.pool_cosines: pool_cosines,
    volume.add_up: add_up,
    head.compute_coarse_map: compute_coarse_map,
    prototype.average_masked: compute_cell_average,
}
"""Plain form of each optimised function."""
METHODS: dict[tuple[type, str], Callable[..., Any]] = {
    (volume.VolumeGroupNorm, "forward"): normalise_groups,
    (volume.VolumeGroupNorm, "normalise_and_bound"): normalise_and_clamp,
    (volume.CentrePivotConv4d, "_reaches_all"): lambda self, volume: False,
    (HypercorrelationHead, "find_windows"): lambda self, masks: WHOLE,
    (MaskAttention, "forward"): gather_masks,
    (WindowAttention, "forward"): attend_in_windows,
    (Swin, "_works_in_place"): lambda self, maps: False,
    (head.PlaneBranch, "forward"): apply_in_turn,
}
"""Plain form of each optimised method of a class."""


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Let every operator take its form for a GPU, on the processor."""
    modules = [m for name, m in sys.modules.items() if name.startswith("fssbench.methods.")]
    with ExitStack() as stack:
        for module in modules:
            if hasattr(module, "runs_on_processor"):
                stack.enter_context(patch.object(module, "runs_on_processor", lambda maps: False))
        yield


@contextmanager
def in_reference_order() -> Iterator[None]:
    """Replace the optimised operators by their plain forms, in every module that imported them."""
    patches = [patch.object(cls, name, plain) for (cls, name), plain in METHODS.items()]
    for module in [m for name, m in sys.modules.items() if name.startswith("fssbench.methods.")]:
        for name, value in list(vars(module).items()):
            if callable(value) and getattr(value, "__hash__", None) and value in FUNCTIONS:
                patches.append(patch.object(module, name, FUNCTIONS[value]))
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()
