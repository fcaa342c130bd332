"""Bilinear resizing of maps and masks, and a convolution of resized maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .processor import runs_on_processor

Size = tuple[int, int]
"""Height and width."""
_MANY_CHANNELS = 32
"""Number of channels from which on torch resizes maps with channels last."""


def read_size(maps: Tensor) -> Size:
    """Return the height and width of maps (..., h, w)."""
    return int(maps.shape[-2]), int(maps.shape[-1])


def resize(maps: Tensor, size: Size, *, align_corners: bool = True) -> Tensor:
    """Resize maps (B, C, h, w) bilinearly to (B, C, *size).  Equal sizes return the same tensor.

    Binary masks (B, K, H, W) become soft masks with values 0..1.  Maps of many channels are resized with channels last
    on a CPU, which takes a tenth of the time: torch brings them there in any case, and back slowly.
    """
    if read_size(maps) == size:
        return maps
    if maps.shape[1] >= _MANY_CHANNELS and runs_on_processor(maps):
        maps = maps.contiguous(memory_format=torch.channels_last)
    return functional.interpolate(maps, size, mode="bilinear", align_corners=align_corners)


def double_size(maps: Tensor) -> Tensor:
    """Resize maps (B, C, h, w) to twice their sides, with corners aligned."""
    height, width = read_size(maps)
    return resize(maps, (2 * height, 2 * width))


def convolve_resized(conv: nn.Conv2d, low: Tensor, high: Tensor) -> Tensor:
    """Resize maps to the size of others, put both side by side, and convolve them.

    A resize mixes cells and a 1x1 convolution mixes channels, so that their order does not matter.  Without gradients,
    a CPU therefore multiplies `low` by the weights of each entry of the kernel before it is resized, which takes as
    many times fewer multiplications as `high` has more cells.  The result has its channels last, in which a
    CPU resizes and convolves faster.  A GPU would wait for the many small parts.

    Args:
        conv: convolution with stride 1 that keeps the size.
        low: maps (B, C, h, w).
        high: maps (B, D, H, W); `conv` has C + D input channels.

    Returns:
        Maps (B, outputs, H, W).
    """
    size = read_size(high)
    if read_size(low) == size or not runs_on_processor(low):
        out: Tensor = conv(torch.cat([resize(low, size), high], dim=1))
        return out
    low, high = (maps.contiguous(memory_format=torch.channels_last) for maps in (low, high))
    of_low, of_high = conv.weight.split([low.shape[1], high.shape[1]], dim=1)
    rows, columns = read_size(conv.weight)
    reach = (rows // 2, columns // 2)
    entries = of_low.permute(2, 3, 0, 1).flatten(0, 2)[..., None, None]
    products = functional.conv2d(low, entries).contiguous(memory_format=torch.channels_last)
    parts = resize(products, size).unflatten(1, (rows, columns, -1))
    out = functional.conv2d(high, of_high, conv.bias, padding=reach)
    for row in range(rows):
        for column in range(columns):
            down, right = row - reach[0], column - reach[1]
            _shift(out, -down, -right).add_(_shift(parts[:, row, column], down, right))
    return out


def apply_to_resized(layers: nn.Module, low: Tensor, high: Tensor) -> Tensor:
    """Apply layers in a row, of which the first is a convolution, see `convolve_resized`."""
    assert isinstance(layers, nn.Sequential)
    first, *others = layers
    assert isinstance(first, nn.Conv2d)
    out = convolve_resized(first, low, high)
    for layer in others:
        out = layer(out)
    return out


def _shift(maps: Tensor, down: int, right: int) -> Tensor:
    """View the cells of maps (B, C, h, w) that a shift by `-down` and `-right` leaves in the plane."""
    height, width = read_size(maps)
    return maps[..., max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
