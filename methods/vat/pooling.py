"""Max-pooled cosine volumes, which the first 4-D convolution of each level of VAT reads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ..layers.correlation import find_nonzero, multiply_pairs, scale_cells, select_cells, to_single
from ..layers.processor import runs_on_processor
from ..layers.resize import read_size
from ..layers.volume import Window, apply_over_support, find_window

REACH = 1
"""Number of cells on each side that a kernel mixes."""
_PRODUCTS_AT_ONCE = 1 << 19
"""Number of products of a tap that are pooled before others are computed, so that they stay in the cache."""

Strides = tuple[int, int]
"""Cells along a side of the query plane and of the support plane that are pooled into one."""


class Pooled(NamedTuple):
    """A volume (B, L, hq, wq, hs, ws) as both convolutions of a layer read it."""

    query: Tensor
    """(B, L, hq, wq, rows, columns): pooled over the support plane, for the convolution over the query plane."""
    support: Tensor
    """(B, L, hq', wq', hs, ws): pooled over the query plane, for the convolution over the support plane."""
    window: Window | None = None
    """The part of the pooled support plane that both cover; None for the whole.  Outside of it the volume is zero."""


def pool_volume(volume: Tensor, strides: Strides) -> Pooled:
    """Pool a volume (B, L, hq, wq, hs, ws), whose sides are multiples of the strides."""
    query_stride, support_stride = strides
    along_query, along_support = volume, volume
    if support_stride > 1:
        pool = partial(functional.max_pool2d, kernel_size=support_stride)
        along_query = apply_over_support(pool, volume)
    if query_stride > 1:  # over the query plane that would copy the volume twice
        rows = torch.unflatten(volume, 2, (-1, query_stride)).amax(dim=3)
        along_support = torch.unflatten(rows, 3, (-1, query_stride)).amax(dim=4)
    return Pooled(along_query, along_support)


def pool_cosines(query: Sequence[Tensor], support: Sequence[Tensor], strides: Strides) -> Pooled:
    """Compute the cosines of all query cells with all cells of one support, at least zero, and pool them.

    On a CPU without gradients they are pooled as they are computed, and the whole volume is never stored.  Support
    cells that are zero, as those outside the object are, are left out.

    Args:
        query: L maps (B, C, hq, wq).  C may differ between them, the plane may not.
        support: L maps (B, C, hs, ws) at the same taps.
        strides: the sides of each plane are multiples of its stride.
    """
    if not runs_on_processor(query[0]):
        return pool_volume(multiply_pairs(query, support, at_least=0, prepare=scale_cells), strides)
    with torch.autocast("cpu", enabled=False):
        return _pool_in_parts(
            [to_single(maps) for maps in query], [to_single(maps) for maps in support], strides
        )


def _pool_in_parts(query: Sequence[Tensor], support: Sequence[Tensor], strides: Strides) -> Pooled:
    """Multiply and pool some rows of the query plane after others."""
    query_stride, support_stride = strides
    batch, _, height, width = query[0].shape
    plane = read_size(support[0])
    seen = find_nonzero([maps.flatten(2) for maps in support])
    window, places = _find_pooled_window(seen, plane, support_stride)
    rows, columns = window.rows.stop - window.rows.start, window.columns.stop - window.columns.start
    cells, taps = (rows * support_stride, columns * support_stride), len(query)
    count, pooled_query = cells[0] * cells[1], (height // query_stride, width // query_stride)
    offered = [
        scale_cells(select_cells(maps.flatten(2), seen)).transpose(1, 2).contiguous() for maps in support
    ]
    # support cells first in memory, as the convolution over the query plane reads them
    along_query = query[0].new_empty(batch, rows, columns, height, width, taps)
    along_support = query[0].new_zeros(batch, count, *pooled_query, taps)
    step = query_stride * max(1, _PRODUCTS_AT_ONCE // (batch * (len(seen) + 1) * width * query_stride))
    whole = query[0].new_zeros(batch, count, min(step, height), width)
    for start in range(0, height, step):
        stop = min(start + step, height)
        for tap, (maps, others) in enumerate(zip(query, offered, strict=True)):
            asked = scale_cells(maps[:, :, start:stop].flatten(2))
            products = torch.unflatten(torch.bmm(others, asked).clamp_(min=0), 2, (stop - start, width))
            target = along_support[:, :, start // query_stride : stop // query_stride, :, tap]
            target.index_copy_(1, places, _pool_plane(products, 2, query_stride))
            part = whole[:, :, : stop - start].index_copy_(1, places, products)
            along_query[..., start:stop, :, tap] = _pool_plane(
                torch.unflatten(part, 1, cells), 1, support_stride
            )
    return Pooled(
        along_query.permute(0, 5, 3, 4, 1, 2),
        torch.unflatten(along_support, 1, cells).permute(0, 5, 3, 4, 1, 2),
        None if cells == plane else window,
    )


def _find_pooled_window(seen: Tensor, plane: tuple[int, int], stride: int) -> tuple[Window, Tensor]:
    """Find the window of the pooled support plane that a layer mixes with the cells `seen`, and their places in it."""
    occupied = torch.zeros(plane, dtype=torch.bool)
    occupied.view(-1)[seen] = True
    pooled = _pool_plane(occupied, 0, stride)
    height, width = read_size(pooled)
    window = find_window(pooled, REACH) or Window(slice(0, height), slice(0, width), (height, width))
    row = torch.div(seen, plane[1], rounding_mode="floor") - window.rows.start * stride
    column = seen % plane[1] - window.columns.start * stride
    return window, row * (window.columns.stop - window.columns.start) * stride + column


def _pool_plane(maps: Tensor, dim: int, stride: int) -> Tensor:
    """Max-pool the plane that lies in `dim` and the next dimension."""
    return _pool_line(_pool_line(maps, dim, stride), dim + 1, stride)


def _pool_line(maps: Tensor, dim: int, stride: int) -> Tensor:
    return reduce(torch.maximum, torch.unflatten(maps, dim, (-1, stride)).unbind(dim + 1))
