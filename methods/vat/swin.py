"""Shifted-window transformer blocks on grids with any number of axes, for images and 4-D volumes.

Liu et al. (ICCV 2021), with windows over all axes of the grid (Hong et al., ECCV 2022, for four axes).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

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


def shift_mask(dims: tuple[int, ...], side: int, shift: int, like: Tensor) -> Tensor:
    """Compute the mask for the scores of a shifted grid's windows: (n, side ** axes, side ** axes)."""
    regions = torch.zeros(dims, device=like.device)
    for axis, length in enumerate(dims):
        along = torch.zeros(length, device=like.device)
        along[-side:] = 1
        along[-shift:] = 2
        shape = [1] * len(dims)
        shape[axis] = length
        regions = 3 * regions + along.view(shape)
    cells = to_windows(regions[None, ..., None], side)[0, :, :, 0]
    return (cells[:, :, None] != cells[:, None, :]).to(like.dtype) * _APART


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
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, grid: Tensor) -> Tensor:
        """Transform a grid (B, *dims, C).  Every dim must be a multiple of the window's side."""
        dims = tuple(int(d) for d in grid.shape[1:-1])
        axes = tuple(range(1, 1 + len(dims)))
        cells, mask = self.norm1(grid), None
        if self.shift:
            cells = cells.roll([-self.shift] * len(dims), axes)
            mask = shift_mask(dims, self.side, self.shift, cells)
        cells = join_windows(self.attn(to_windows(cells, self.side), mask), dims, self.side)
        if self.shift:
            cells = cells.roll([self.shift] * len(dims), axes)
        grid = grid + cells
        out: Tensor = grid + self.mlp(self.norm2(grid))
        return out


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
        for block in self.blocks:
            grid = block(grid)
        return (self.norm(grid) if self.last_norm else grid).movedim(-1, 1)
