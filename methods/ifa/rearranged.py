"""Flips, quarter turns and shuffled quarters of maps.  With these IFA makes a query from a support."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_FLIP = 0.8
"""Probability of each flip."""


@dataclass(frozen=True)
class Change:
    """One way to rearrange a square map."""

    flips: tuple[int, ...]
    """Axes that are reversed, out of -2 and -1."""
    turns: int
    """Number of quarter turns, 0 to 3."""
    order: tuple[int, ...]
    """Source of each quarter, in reading order."""


def draw_change(generator: torch.Generator) -> Change:
    """Draw a random change on the CPU."""
    chances = torch.rand(2, generator=generator).tolist()
    flips = tuple(axis for axis, chance in zip((-2, -1), chances, strict=True) if chance < _FLIP)
    turns = int(torch.randint(4, (), generator=generator))
    return Change(flips, turns, tuple(torch.randperm(4, generator=generator).tolist()))


def apply_change(maps: Tensor, change: Change) -> Tensor:
    """Rearrange maps (..., h, w) without changing their size.

    Maps that are not square are turned by half turns only.  If a side is odd, its middle line stays in place when
    quarters are shuffled.
    """
    height, width = maps.shape[-2:]
    turns = change.turns if height == width else 2 * (change.turns // 2)
    out = torch.rot90(maps.flip(change.flips) if change.flips else maps, turns, (-2, -1)).clone()
    rows = (slice(0, height // 2), slice(height - height // 2, height))
    columns = (slice(0, width // 2), slice(width - width // 2, width))
    places = [(row, column) for row in rows for column in columns]
    quarters = [out[..., row, column].clone() for row, column in places]
    for (row, column), source in zip(places, change.order, strict=True):
        out[..., row, column] = quarters[source]
    return out
