"""Attention without parameters transfers support masks to the query.  Otsu's method thresholds the result."""

from __future__ import annotations

import torch
from torch import Tensor

from ..layers.resize import read_size, resize

_LEVELS = 256
_FLOOR = int(0.05 * (_LEVELS - 1))
"""Grey levels below this one are ignored."""


def carry_mask(query: Tensor, support: Tensor, mask: Tensor) -> Tensor:
    """Compute the share of each query cell's attention that falls on the object.

    The attention is a softmax, over the cells of all supports, of inner products divided by the root of the number of
    channels.  The masks are resized bilinearly (corners not aligned) to feature size.

    Args:
        query: query features (1, C, h, w).
        support: support features (K, C, h, w).
        mask: support masks (K, H, W), values 0..1.

    Returns:
        Shares (1, 1, h, w), values 0..1.
    """
    small = resize(mask.unsqueeze(1), read_size(support), align_corners=False)
    cells = query[0].flatten(1).transpose(0, 1)
    tokens = support.transpose(0, 1).flatten(1)
    shares = (cells @ tokens / query.shape[1] ** 0.5).softmax(dim=1)
    return (shares @ small.flatten()).view(1, 1, *query.shape[-2:])


def find_otsu_threshold(values: Tensor) -> float:
    """Compute Otsu's threshold of a map.  The lowest 5 % of 256 grey levels do not count.

    The threshold is the level with the largest variance between the values up to it and the values above it, mapped
    back to the map's range.  Of equal levels the first is taken.  A constant map returns its value.
    """
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return high
    grey = ((values - low) / (high - low) * (_LEVELS - 1)).long().flatten()
    counts = torch.bincount(grey[grey >= _FLOOR], minlength=_LEVELS).double().cpu()
    levels = torch.arange(_LEVELS, dtype=torch.float64)
    below, total = counts.cumsum(0), counts.sum()
    sums = (counts * levels).cumsum(0)
    above = total - below
    between = below * above * (sums / below - (sums[-1] - sums) / above).square()
    between[(below == 0) | (above == 0)] = 0
    return low + int(between.argmax()) / (_LEVELS - 1) * (high - low)
