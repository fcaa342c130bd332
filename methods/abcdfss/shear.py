"""Shears of images, masks and feature maps, with nearest neighbour and zeros outside."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.functional import InterpolationMode, affine

Shear = tuple[int, int]
"""Degrees along the horizontal and the vertical axis."""


def draw_shears(count: int, limit: int, generator: torch.Generator) -> list[Shear]:
    """Draw random shears on the CPU; each axis has a whole number of degrees in [-limit, limit]."""
    drawn = torch.randint(-limit, limit + 1, (count, 2), generator=generator)
    return [(int(x), int(y)) for x, y in drawn.tolist()]


def shear_maps(maps: Tensor, shear: Shear) -> Tensor:
    """Shear maps (..., h, w) about their centre."""
    height, width = maps.shape[-2:]
    source = find_source_indices(int(height), int(width), shear).to(maps.device)
    flat = maps.flatten(-2)
    with_zero = torch.cat([flat, flat.new_zeros((*flat.shape[:-1], 1))], dim=-1)
    return with_zero.index_select(-1, source).unflatten(-1, (height, width))


def make_copies(maps: Tensor, shears: Sequence[Shear]) -> Tensor:
    """Make sheared copies of maps (N, ..., h, w), ordered by shear: (V * N, ..., h, w)."""
    return torch.cat([shear_maps(maps, shear) for shear in shears])


def find_source_indices(height: int, width: int, shear: Shear) -> Tensor:
    """Compute the index of each cell's source, row by row.  The index height * width means outside.

    torchvision shears an image of indices.  A few pixels lie in the middle between two sources (3 of 65,536 at 12
    degrees). They get the same source as in the reference.
    """
    cells = height * width
    index = torch.arange(1, cells + 1, dtype=torch.float32).view(1, height, width)
    sources = affine(index, 0.0, [0, 0], 1.0, [float(d) for d in shear], InterpolationMode.NEAREST, [0.0])
    return torch.where(sources > 0, sources - 1, cells).long().flatten()
