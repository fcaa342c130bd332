"""Affinities of every query cell with every support cell; `volume` describes the layout of the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor

from .prototypes import scale_to_unit
from .volume import Window

LENGTH_EPS = 1e-5
"""Number that HSNet and later methods add to the length of a feature vector."""


def multiply_pairs(
    query: Sequence[Tensor], support: Sequence[Tensor], *, at_least: float | None = None
) -> Tensor:
    """Multiply every query cell with every support cell, with one channel per tap.

    The products are computed in single precision under autocast too, because they reach thousands and a softmax may
    follow.

    Args:
        query: L maps (B, C, hq, wq).  C may differ between them, the plane may not.
        support: L maps (B, C, hs, ws) at the same taps.
        at_least: lower bound of the products; None for none.

    Returns:
        Volume (B, L, hq, wq, hs, ws), with channels last in memory.
    """
    with torch.autocast(query[0].device.type, enabled=False):
        products = (
            _bound(torch.bmm(_single(q).flatten(2).transpose(1, 2), _single(s).flatten(2)), at_least)
            for q, s in zip(query, support, strict=True)
        )
        volume = _stack_last(products, len(query))
    return volume.view(-1, *query[0].shape[2:], *support[0].shape[2:], len(query)).movedim(-1, 1)


def _bound(products: Tensor, at_least: float | None) -> Tensor:
    return products if at_least is None else products.clamp_(min=at_least)


def _stack_last(products: Iterator[Tensor], count: int) -> Tensor:
    """Stack products (B, n, m) along a new last dimension.

    Without gradients each one is copied as soon as it is computed, while it is in the processor's cache.  This takes
    two thirds of the time of `torch.stack`, and the memory of one product in place of all.
    """
    first = next(products)
    if torch.is_grad_enabled() or first.device.type != "cpu":
        return torch.stack([first, *products], dim=-1)
    volume = first.new_empty(*first.shape, count)
    for channel, each in enumerate(chain([first], products)):
        volume[..., channel] = each
    return volume


def _single(maps: Tensor) -> Tensor:
    """Convert maps of lower precision to single precision.  An encoder under autocast returns such maps."""
    return maps.to(torch.promote_types(maps.dtype, torch.float32))


def correlate_levels(
    levels: Sequence[Sequence[str]],
    query: Mapping[str, Tensor],
    objects: Mapping[str, Tensor],
    windows: Sequence[Window | None] = (),
) -> list[Tensor]:
    """Compute the cosines of all query cells with all cells of one support, at least zero; one volume per level.

    Args:
        levels: names of taps, by level.
        query: query features (B, C, h, w) by tap.
        objects: support features under their masks (B, C, h, w) by tap.
        windows: the part of the support plane that is needed, by level; the whole plane by default.
    """
    return [
        multiply_pairs(
            [scale_to_unit(query[tap], eps=LENGTH_EPS) for tap in level],
            [
                scale_to_unit(window.crop(objects[tap]) if window else objects[tap], eps=LENGTH_EPS)
                for tap in level
            ],
            at_least=0,
        )
        for level, window in zip(levels, windows or [None] * len(levels), strict=True)
    ]
