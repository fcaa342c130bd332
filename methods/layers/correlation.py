"""Affinities of every query cell with every support cell; `volume` describes the layout of the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .prototypes import scale_to_unit
from .volume import Window

LENGTH_EPS = 1e-5
"""Number that HSNet and later methods add to the length of a feature vector."""


def multiply_pairs(query: Sequence[Tensor], support: Sequence[Tensor]) -> Tensor:
    """Multiply every query cell with every support cell, with one channel per tap.

    The products are computed in single precision under autocast too, because they reach thousands and a softmax may
    follow.

    Args:
        query: L maps (B, C, hq, wq).  C may differ between them, the plane may not.
        support: L maps (B, C, hs, ws) at the same taps.

    Returns:
        Volume (B, L, hq, wq, hs, ws), with channels last in memory.
    """
    with torch.autocast(query[0].device.type, enabled=False):
        products = [
            torch.bmm(_single(q).flatten(2).transpose(1, 2), _single(s).flatten(2))
            for q, s in zip(query, support, strict=True)
        ]
    stacked = torch.stack(products, dim=-1)
    return stacked.view(-1, *query[0].shape[2:], *support[0].shape[2:], len(products)).movedim(-1, 1)


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
        ).clamp(min=0)
        for level, window in zip(levels, windows or [None] * len(levels), strict=True)
    ]
