"""Shifted-window transformer blocks on grids with any number of axes, for images and 4-D volumes.

Liu et al. (ICCV 2021), with windows over all axes of the grid (Hong et al., ECCV 2022, for four axes).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..layers.processor import runs_on_processor

_WIDENING = 4
"""Hidden channels of a perceptron, by its channels."""
_VALUES_AT_ONCE = 1 << 20
"""Number of scores of a head, or of hidden values, that are used before others are computed."""
_APART = -100.0
"""Number that is added to the scores of cells which only the cyclic shift made neighbours.  Their share vanishes."""


def to_windows(grid: Tensor, side: int) -> Tensor:
    """Cut a grid (B, *dims, C) into windows: (B, n, side ** axes, C), with windows and cells in reading order."""
    axes = grid.ndim - 2
    for axis in range(axes):
        grid = torch.unflatten(grid, 1 + 2 * axis, (-1, side))
    order = [0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), 2 * axes + 1]
    return grid.permute(order).flatten(1, axes).flatten(2, -2)


def join_windows(windows: Tensor, dims: tuple[int, ...], side: int) -> Tensor:
    """Put windows (B, n, side ** axes, C) together again: (B, *dims, C)."""
    axes = len(dims)
    grid = torch.unflatten(windows, 2, (side,) * axes)
    grid = torch.unflatten(grid, 1, tuple(d // side for d in dims))
    order = [0, *(i for axis in range(axes) for i in (1 + axis, 1 + axes + axis)), 2 * axes + 1]
    return grid.permute(order).reshape(len(windows), *dims, -1)


def make_relative_index(side: int, axes: int) -> Tensor:
    """Compute the row of the bias table for each pair of cells of a window: (side ** axes, side ** axes)."""
    line = torch.arange(side)
    cells = torch.stack([c.flatten() for c in torch.meshgrid(*[line] * axes, indexing="ij")])
    offsets = cells[:, :, None] - cells[:, None, :] + side - 1
    weights = torch.tensor([(2 * side - 1) ** (axes - 1 - axis) for axis in range(axes)])
    return (offsets * weights.view(-1, 1, 1)).sum(dim=0)


def label_regions(dims: tuple[int, ...], side: int, shift: int, like: Tensor) -> Tensor:
    """Label the cells of a shifted grid's windows by what was together before the cyclic shift: (n, side ** axes)."""
    regions = torch.zeros(dims, device=like.device)
    for axis, length in enumerate(dims):
        along = torch.zeros(length, device=like.device)
        along[-side:] = 1
        along[-shift:] = 2
        shape = [1] * len(dims)
        shape[axis] = length
        regions = 3 * regions + along.view(shape)
    return to_windows(regions[None, ..., None], side)[0, :, :, 0]


def part_regions(regions: Tensor, like: Tensor) -> Tensor:
    """Compute the mask for the scores of windows (n, N): (n, N, N)."""
    return (regions[:, :, None] != regions[:, None, :]).to(like.dtype) * _APART


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a learnt bias for each relative position.

    Args:
        channels: number of channels of the cells.
        heads: number of heads, which must divide `channels`.
        side: side of a window, in cells.
        axes: number of axes of the grid.
    """

    index: Tensor

    def __init__(self, channels: int, heads: int, side: int, axes: int) -> None:
        super().__init__()
        self.heads = heads
        self.bias_table = nn.Parameter(torch.empty((2 * side - 1) ** axes, heads))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.register_buffer("index", make_relative_index(side, axes), persistent=False)
        nn.init.trunc_normal_(self.bias_table, std=0.02)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within windows (B, n, N, C).  `mask` (n, N, N) is added to the scores."""
        query, key, value = torch.unflatten(self.qkv(windows), -1, (3, self.heads, -1)).unbind(dim=3)
        bias = self.bias_table[self.index]
        out = []
        for head in range(self.heads):  # one at a time: a fourth of the memory
            added = bias[..., head] if mask is None else (bias[..., head] + mask).unsqueeze(0)
            asked, offered, carried = query[..., head, :], key[..., head, :], value[..., head, :]
            # the function expects heads in the place of the windows; with a mask of three axes it stores all scores
            out.append(functional.scaled_dot_product_attention(asked, offered, carried, attn_mask=added))
        projected: Tensor = self.proj(torch.cat(out, dim=-1))
        return projected


class SwinBlock(nn.Module):
    """Attention within windows and a two-layer perceptron, each after its norm and added to its input.

    Args:
        channels: number of channels of the cells.
        heads: number of attention heads.
        side: side of a window, in cells.
        axes: number of axes of the grid.
        shift: number of cells by which the windows are shifted, cyclically, along every axis.
    """

    def __init__(self, channels: int, heads: int, side: int, axes: int, *, shift: int) -> None:
        super().__init__()
        self.side, self.shift = side, shift
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, side, axes)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, _WIDENING * channels),
            nn.GELU(),
            nn.Linear(_WIDENING * channels, channels),
        )

    def forward(self, grid: Tensor) -> Tensor:
        """Transform a grid (B, *dims, C).  Every dim must be a multiple of the window's side."""
        dims = tuple(int(d) for d in grid.shape[1:-1])
        axes = tuple(range(1, 1 + len(dims)))
        cells, mask = self.norm1(grid), None
        if self.shift:
            cells = cells.roll([-self.shift] * len(dims), axes)
            mask = part_regions(label_regions(dims, self.side, self.shift, cells), cells)
        cells = join_windows(self.attn(to_windows(cells, self.side), mask), dims, self.side)
        if self.shift:
            cells = cells.roll([self.shift] * len(dims), axes)
        grid = grid + cells
        out: Tensor = grid + self.mlp(self.norm2(grid))
        return out

    def transform_in_place(self, grid: Tensor) -> None:
        """Transform a contiguous grid (B, *dims, C) in place, some windows and then some cells after others."""
        dims = tuple(int(d) for d in grid.shape[1:-1])
        cells = grid.flatten(1, -2)
        places = torch.arange(cells.shape[1]).view(1, *dims, 1)
        if self.shift:
            places = places.roll([-self.shift] * len(dims), tuple(range(1, 1 + len(dims))))
        windows = to_windows(places, self.side)[0, :, :, 0]
        regions = label_regions(dims, self.side, self.shift, cells) if self.shift else None
        scores = len(grid) * windows.shape[1] * max(windows.shape[1], cells.shape[2])
        at_once = max(1, _VALUES_AT_ONCE // scores)
        for start in range(0, len(windows), at_once):
            some = windows[start : start + at_once]
            inside = torch.unflatten(cells.index_select(1, some.flatten()), 1, some.shape)
            mask = None if regions is None else part_regions(regions[start : start + at_once], inside)
            attended = self.attn(self.norm1(inside), mask)
            cells.index_add_(1, some.flatten(), attended.flatten(1, 2))
        for part in cells.flatten(0, 1).split(max(1, _VALUES_AT_ONCE // (_WIDENING * cells.shape[2]))):
            part += self.mlp(self.norm2(part))


class Swin(nn.Module):
    """Swin blocks, of which every second one is shifted by half a window, and a last norm.

    Args:
        channels: number of channels of the maps.
        depth: number of blocks.
        heads: number of attention heads.
        side: side of a window, in cells.
        axes: number of axes of the grid: 2 for images, 4 for volumes.
        last_norm: whether the last norm is applied.  It has parameters in both cases.
    """

    def __init__(
        self, channels: int, depth: int, heads: int, side: int, axes: int, *, last_norm: bool = True
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(channels, heads, side, axes, shift=side // 2 if i % 2 else 0) for i in range(depth)
        )
        self.norm = nn.LayerNorm(channels)
        self.last_norm = last_norm

    def forward(self, maps: Tensor) -> Tensor:
        """Transform maps (B, C, *dims)."""
        grid = maps.movedim(1, -1)
        if self._works_in_place(maps):
            grid = grid.clone(memory_format=torch.contiguous_format)
            for block in self.blocks:
                assert isinstance(block, SwinBlock)
                block.transform_in_place(grid)
        else:
            for block in self.blocks:
                grid = block(grid)
        return (self.norm(grid) if self.last_norm else grid).movedim(-1, 1)

    def _works_in_place(self, maps: Tensor) -> bool:
        return runs_on_processor(maps) and not torch.is_autocast_enabled("cpu")
