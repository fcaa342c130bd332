"""Affinities of every query cell with every support cell; `volume` describes the layout of the result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from .processor import count_at_once, runs_on_processor
from .prototypes import scale_to_unit

LENGTH_EPS = 1e-5
"""Number that HSNet and later methods add to the length of a feature vector."""
_PRODUCTS_AT_ONCE = 1 << 19
"""Number of products that each thread computes before they are put side by side, so that they stay in the cache."""
Prepare = Callable[[Tensor], Tensor]


def keep(maps: Tensor) -> Tensor:
    """Return the same maps."""
    return maps


def multiply_pairs(
    query: Sequence[Tensor],
    support: Sequence[Tensor],
    *,
    at_least: float | None = None,
    prepare: Prepare = keep,
    bounded: bool = False,
) -> Tensor:
    """Multiply every query cell with every support cell, with one channel per tap.

    The products are computed in single precision under autocast too, unless they are bounded: they may reach thousands,
    and a softmax may follow.

    Args:
        query: L maps (B, C, hq, wq).  C may differ between them, the plane may not.
        support: L maps (B, C, hs, ws) at the same taps.
        at_least: lower bound of the products; None for none.
        prepare: what is done to maps (B, C, cells) first, to each cell by itself.  Cells of zeros stay so.  It gets
            maps in single precision, unless they have the lower precision of the product.
        bounded: whether products are at most one, so that autocast multiplies in lower precision if no gradient is
            needed.

    Returns:
        Volume (B, L, hq, wq, hs, ws), with channels last in memory.
    """
    precision = _choose_precision(query[0], bounded=bounded)

    def make_ready(cells: Tensor) -> Tensor:
        return prepare(cells if cells.dtype == precision else to_single(cells)).to(precision)

    with torch.autocast(query[0].device.type, enabled=False):
        cells, others = [maps.flatten(2) for maps in query], [maps.flatten(2) for maps in support]
        multiply = _multiply_in_parts if runs_on_processor(cells[0]) else _multiply_at_once
        volume = multiply(cells, others, at_least, make_ready)
    return volume.view(-1, *query[0].shape[2:], *support[0].shape[2:], len(query)).movedim(-1, 1)


def stays_low(maps: Tensor) -> bool:
    """Return whether bounded products of these maps, which have a lower precision, are computed in it."""
    return maps.dtype == _choose_precision(maps, bounded=True)


def _choose_precision(maps: Tensor, *, bounded: bool) -> torch.dtype:
    kind = maps.device.type
    if bounded and torch.is_autocast_enabled(kind) and not torch.is_grad_enabled():
        return torch.get_autocast_dtype(kind)
    return torch.promote_types(maps.dtype, torch.float32)


def _multiply(query: Tensor, support: Tensor) -> Tensor:
    """Products (B, N, M) of maps (B, C, N) and (B, C, M)."""
    return torch.bmm(query.transpose(1, 2), support)


def _multiply_in_parts(
    query: Sequence[Tensor], support: Sequence[Tensor], at_least: float | None, prepare: Prepare
) -> Tensor:
    """Multiply some query cells after others, so that their products are put side by side in the processor's cache.

    Support cells that are zero, as those outside the object are, have products of zero.  They are left out of the
    matrix product.

    Returns:
        Products (B, N, M, L) of maps (B, C, N) and (B, C, M).
    """
    (batch, _, count), cells, taps = query[0].shape, support[0].shape[2], len(query)
    seen = find_nonzero(support)
    whole = len(seen) == cells
    support = [prepare(maps if whole else select_cells(maps, seen)) for maps in support]
    shape = batch, count, cells, taps
    lowest = -math.inf if at_least is None else at_least
    left_out = max(lowest, 0.0)
    volume = support[0].new_empty(shape) if whole else support[0].new_full(shape, left_out)
    size = count_at_once(_PRODUCTS_AT_ONCE, batch * taps * (len(seen) + 1))
    products = volume if whole else volume.new_empty(batch, min(size, count), len(seen), taps)
    for start in range(0, count, size):
        part = volume[:, start : start + size]
        target = part if whole else products[:, : part.shape[1]]
        for tap, (asked, others) in enumerate(zip(query, support, strict=True)):
            found = _multiply(prepare(asked[..., start : start + size]), others)
            torch.clamp_min(found, lowest, out=target[..., tap])
        if not whole:
            _join_taps(part).index_copy_(2, seen, _join_taps(target))
    return volume


def _join_taps(products: Tensor) -> Tensor:
    """View the products of all taps (..., L) as one number (..., 1), to copy them at once, if a type is as long."""
    whole = {8: torch.int64, 16: torch.complex128}.get(products.shape[-1] * products.element_size())
    return products if whole is None else products.view(whole)


def _multiply_at_once(
    query: Sequence[Tensor], support: Sequence[Tensor], at_least: float | None, prepare: Prepare
) -> Tensor:
    """Multiply the maps of all taps in one product: a GPU takes as long for the small kernels of a tap as for all.

    Returns:
        Products (B, N, M, L) of maps (B, C, N) and (B, C, M).
    """
    if len({maps.shape[1] for maps in query}) == 1:
        asked, others = (prepare(torch.stack([*maps], dim=1).flatten(0, 1)) for maps in (query, support))
        products = torch.unflatten(_multiply(asked, others), 0, (-1, len(query)))
    else:
        pairs = zip(query, support, strict=True)
        products = torch.stack([_multiply(prepare(q), prepare(s)) for q, s in pairs], dim=1)
    volume = products.permute(0, 2, 3, 1).contiguous()
    return volume if at_least is None else volume.clamp_(min=at_least)


def find_nonzero(maps: Sequence[Tensor]) -> Tensor:
    """Find the cells of maps (B, C, M) that are not zero everywhere: their places (n,).  A NaN is not zero.

    A sum of absolute values is zero only if all of them are.  It takes half the time of a minimum and a maximum.
    """
    sums = torch.stack([each.abs().sum(dim=(0, 1)) for each in maps])
    return (sums != 0).any(dim=0).nonzero()[:, 0]


def select_cells(maps: Tensor, places: Tensor) -> Tensor:
    """Select the cells at places (n,) of maps (B, C, M).  torch's own `index_select` takes twice the time."""
    return maps.gather(2, places.expand(*maps.shape[:2], -1))


def to_single(maps: Tensor) -> Tensor:
    """Convert maps of lower precision to single precision.  An encoder under autocast returns such maps."""
    return maps.to(torch.promote_types(maps.dtype, torch.float32))


def scale_cells(maps: Tensor) -> Tensor:
    """Scale the vectors of maps (B, C, cells) to unit length.  The result has the precision of the maps."""
    if maps.dtype != torch.bfloat16:
        return scale_to_unit(to_single(maps), eps=LENGTH_EPS).to(maps.dtype)
    lengths = to_single(maps).square_().sum(dim=1, keepdim=True).sqrt_()
    # a product in bfloat16 takes a third of the time of a quotient in single precision
    return maps * (lengths + LENGTH_EPS).reciprocal_().to(maps.dtype)


def correlate_levels(
    levels: Sequence[Sequence[str]], query: Mapping[str, Tensor], objects: Mapping[str, Tensor]
) -> list[Tensor]:
    """Compute the cosines of all query cells with all cells of one support, at least zero; one volume per level.

    Args:
        levels: names of taps, by level.
        query: query features (B, C, h, w) by tap.
        objects: support features under their masks (B, C, h, w) by tap.
    """
    return [
        multiply_pairs(
            [query[tap] for tap in level],
            [objects[tap] for tap in level],
            at_least=0,
            prepare=scale_cells,
            bounded=True,
        )
        for level in levels
    ]
