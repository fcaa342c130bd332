"""Parts of the transformers of CyCTR, IPMT and AAFormer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .resize import Size, read_size

EXCLUDED = -10_000.0
"""Added to the score of a token that is not to be attended; if it is added to all, it changes nothing."""


class FeedForward(nn.Module):
    """Two linear layers without bias on each token, ReLU between them, plus the token."""

    def __init__(self, width: int, inner: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Sequential(nn.Linear(width, inner, bias=False), nn.ReLU(), nn.Dropout(dropout)),
            nn.Linear(inner, width, bias=False),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (..., C) to tokens of the same shape."""
        return tokens + self.dropout(self.layers(tokens))


def encode_positions(size: Size, width: int, like: Tensor) -> Tensor:
    """Encode the places of a map's cells by sines and cosines (DETR): (h * w, width).

    The first half of the channels tells the row, the second the column; sine and cosine take turns.  Rows and columns
    count from 1 and are divided by their number, so that the last is at 2 pi.

    Args:
        size: height and width of the map.
        width: channels, a multiple of 4.
        like: a tensor whose type and device the result has.
    """
    height, columns = size
    y = _encode_axis(height, width // 2, like)[:, None].expand(-1, columns, -1)
    x = _encode_axis(columns, width // 2, like)[None].expand(height, -1, -1)
    return torch.cat([y, x], dim=-1).flatten(0, 1)


def _encode_axis(length: int, width: int, like: Tensor) -> Tensor:
    """Encode 1, 2, ..., `length`: (length, width)."""
    places = torch.arange(1, length + 1, device=like.device, dtype=like.dtype) / (length + 1e-6)
    turns = torch.arange(width // 2, device=like.device, dtype=like.dtype) * 2 / width
    angles = places[:, None] * (2 * math.pi) / 10_000**turns
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def to_tokens(maps: Tensor) -> Tensor:
    """Cells of maps (B, C, h, w) in reading order: (B, h * w, C)."""
    return maps.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, size: Size) -> Tensor:
    """The map (B, C, h, w) of tokens (B, h * w, C)."""
    return tokens.transpose(1, 2).unflatten(2, size)


def make_token_masks(support_mask: Tensor, size: Size) -> Tensor:
    """Say which cells of each support's grid show the object, never none and never all.

    A mask without a cell gets the four in its centre; a mask of every cell loses the four in the corners.

    Args:
        support_mask: binary masks (B, K, H, W).
        size: height and width of the grid.

    Returns:
        (B, K, h, w), bool.
    """
    masks = nn.functional.interpolate(support_mask.float(), size, mode="nearest") == 1
    height, width = read_size(masks)
    middle = torch.zeros(size, dtype=torch.bool, device=masks.device)
    middle[max(height // 2 - 1, 0) : height // 2 + 1, max(width // 2 - 1, 0) : width // 2 + 1] = True
    corners = torch.zeros_like(middle)
    corners[:: max(height - 1, 1), :: max(width - 1, 1)] = True
    cells = masks.sum(dim=(-2, -1))[..., None, None]
    return torch.where(cells == 0, middle, masks) & ~((cells == height * width) & corners)
