"""Bilinear resizing of maps and masks."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

Size = tuple[int, int]
"""Height and width."""


def read_size(maps: Tensor) -> Size:
    """Return the height and width of maps (..., h, w)."""
    return int(maps.shape[-2]), int(maps.shape[-1])


def resize(maps: Tensor, size: Size, *, align_corners: bool = True) -> Tensor:
    """Resize maps (B, C, h, w) bilinearly to (B, C, *size).  Equal sizes return the same tensor.

    Binary masks (B, K, H, W) become soft masks with values 0..1.
    """
    if read_size(maps) == size:
        return maps
    return functional.interpolate(maps, size, mode="bilinear", align_corners=align_corners)


def double_size(maps: Tensor) -> Tensor:
    """Resize maps (B, C, h, w) to twice their sides, with corners aligned."""
    height, width = read_size(maps)
    return resize(maps, (2 * height, 2 * width))
