"""Positions as the authors' code computes them, where timm computes other numbers."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_OFFSET = 0.1
"""DINOv2's code adds it to the number of cells before it divides by the table's side."""


def use_hub_positions(network: Any) -> None:
    """Make a network of timm compute positions as the authors' code does.

    DINOv3 (rotary positions): the periods are rounded to bfloat16, as the released files hold them.  DINOv2 without
    registers (a position table): it is resampled by `resample_table`.  Other networks agree with timm.
    """
    rotary = getattr(network, "rope", None)
    if rotary is not None:
        rotary.periods.copy_(rotary.periods.bfloat16())
    else:
        network._pos_embed = partial(_add_positions, network)  # the network calls it by this name


def _add_positions(network: Any, tokens: Tensor) -> Tensor:
    """Add positions to patch tokens (B, h, w, C), and put the class token before them: (B, 1 + h * w, C)."""
    table = network.pos_embed
    grid = resample_table(table[:, 1:], (tokens.shape[1], tokens.shape[2]))
    first = (network.cls_token + table[:, :1]).expand(len(tokens), -1, -1)
    return torch.cat([first, tokens.flatten(1, 2) + grid], dim=1)


def resample_table(table: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample a square position table by the rule of DINOv2's code: bicubic, no antialias, its own scale.

    The scale is (n + 0.1) / m for n cells and a table of side m, and not the exact ratio.

    Args:
        table: (1, m * m, C).
        size: rows and columns wanted.

    Returns:
        (1, rows * columns, C).
    """
    side = round(table.shape[1] ** 0.5)
    if size == (side, side):
        return table
    scale = [(n + _OFFSET) / side for n in size]
    square = table.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    return functional.interpolate(square, scale_factor=scale, mode="bicubic").flatten(2).transpose(1, 2)
