"""Deformable self-attention on one map (Zhu et al., Deformable DETR, ICLR 2021, section 4.1), in plain PyTorch.

Each cell reads a few points of the map, at offsets that it predicts itself.  References compile an operator for this;
`grid_sample` gives the same numbers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from .resize import Size


class DeformableAttention(nn.Module):
    """Attention of every cell to `points` places around it, in each of `heads` parts of the channels.

    Args:
        width: channels; a multiple of `heads`.
        heads: parts of the channels with their own points.
        points: places that a cell reads in each head.
        bias: whether the projections of values and of the result have a bias.
        dropout: share of the values, and of the weights, that training sets to zero.
    """

    def __init__(
        self, width: int, heads: int, *, points: int = 9, bias: bool = False, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.heads, self.points = heads, points
        self.sampling_offsets = nn.Linear(width, heads * points * 2)
        self.attention_weights = nn.Linear(width, heads * points)
        self.value_proj = nn.Linear(width, width, bias=bias)
        self.output_proj = nn.Linear(width, width, bias=bias)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        nn.init.zeros_(self.sampling_offsets.weight)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(make_rings(heads, points).flatten())

    def forward(self, cells: Tensor, positions: Tensor, size: Size) -> Tensor:
        """Read the map at the points of every cell.

        Args:
            cells: the map's cells in reading order (B, h * w, C).
            positions: their encodings, added to what predicts offsets and weights; broadcasts to `cells`.
            size: height and width of the map.

        Returns:
            (B, h * w, C), without a residual.
        """
        height, width = size
        queries = cells + positions
        values = self.dropout(self.value_proj(cells)).unflatten(2, (self.heads, -1))
        maps = values.permute(0, 2, 3, 1).flatten(0, 1).unflatten(2, size)  # (B * heads, C / heads, h, w)
        weights = self.attention_weights(queries).unflatten(2, (self.heads, self.points))
        weights = self.dropout(weights.softmax(dim=-1)).transpose(1, 2).flatten(0, 1).unsqueeze(1)
        offsets = self.sampling_offsets(queries).unflatten(2, (self.heads, self.points, 2))
        places = _place_cell_centres(size, cells) + offsets.transpose(1, 2).flatten(0, 1) / cells.new_tensor(
            [width, height]
        )
        read = functional.grid_sample(maps, 2 * places - 1, mode="bilinear", align_corners=False)
        joined = (read * weights).sum(dim=-1).unflatten(0, (-1, self.heads)).flatten(1, 2).transpose(1, 2)
        result: Tensor = self.output_proj(joined)
        return result


def make_rings(heads: int, points: int) -> Tensor:
    """Make the offsets (heads, points, 2) before training: head by head one direction, at distances 1 to `points`.

    Offsets are x, y in cells; distances are those of the maximum norm.
    """
    angles = torch.arange(heads) * (2 * math.pi / heads)
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)
    directions = directions / directions.abs().amax(dim=1, keepdim=True)
    return directions[:, None] * torch.arange(1, points + 1)[:, None]


def _place_cell_centres(size: Size, like: Tensor) -> Tensor:
    """Centres (h * w, 1, 2) of a map's cells as x, y from 0 to 1."""
    height, width = size
    y = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) / height
    x = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) / width
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows], dim=-1).flatten(0, 1).unsqueeze(1)
