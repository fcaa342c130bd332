"""Shears of images, masks and feature maps: nearest neighbour, zeros from outside."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.functional import InterpolationMode, affine

Shear = tuple[int, int]
"""Degrees along the horizontal and the vertical axis."""


def draw_shears(count: int, limit: int, generator: torch.Generator) -> list[Shear]:
    """Random shears, each axis a whole number of degrees in [-limit, limit], drawn on the CPU."""
    drawn = torch.randint(-limit, limit + 1, (count, 2), generator=generator)
    return [(int(x), int(y)) for x, y in drawn.tolist()]


def sheared(maps: Tensor, shear: Shear) -> Tensor:
    """Maps (..., h, w) sheared about their centre."""
    height, width = maps.shape[-2:]
    source = _sources(int(height), int(width), shear).to(maps.device)
    flat = maps.flatten(-2)
    with_zero = torch.cat([flat, flat.new_zeros((*flat.shape[:-1], 1))], dim=-1)
    return with_zero.index_select(-1, source).unflatten(-1, (height, width))


def copies(maps: Tensor, shears: Sequence[Shear]) -> Tensor:
    """Sheared copies of maps (N, ..., h, w), shear by shear: (V * N, ..., h, w)."""
    return torch.cat([sheared(maps, shear) for shear in shears])


def _sources(height: int, width: int, shear: Shear) -> Tensor:
    """Index of the source of each cell, row by row; height * width stands for outside.

    An image of indices is sheared by torchvision, so that the few pixels that lie in the middle between two
    sources (three of 65,536 at 12 degrees) go where they go in the reference.
    """
    cells = height * width
    index = torch.arange(1, cells + 1, dtype=torch.float32).view(1, height, width)
    found = affine(index, 0.0, [0, 0], 1.0, [float(d) for d in shear], InterpolationMode.NEAREST, [0.0])
    return torch.where(found > 0, found - 1, cells).long().flatten()
