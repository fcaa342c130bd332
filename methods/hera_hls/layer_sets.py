"""The sets of layers whose maps are fused, and the weights of their members."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_CONTRAST = 26.0
_DECAY = 0.5
"""Logit that a layer loses for each layer between it and the last one."""
_LEAST_SHARE = 0.02
_MOST = 8
_REACH = 3
"""Layers beyond the best one up to which a set from the first layer, or from the last one, reaches."""


def list_sets(best: int, first: int, last: int) -> list[tuple[int, ...]]:
    """List the six sets of layers around the best one.

    Windows of 7 and of 9 layers; a set from the first layer on and one up to the last; every second layer of the window
    of 9; these with a window of 5.  The last layer is the last member of every set.  A set that would be equal to an
    earlier one is changed by a rule of its own, except for windows and the last set, so that equal sets remain.

    Args:
        best: number of the best layer.
        first: number of the first candidate.
        last: number of the last candidate.

    Example:
        >>> list_sets(20, 12, 23)[3:5]
        [(18, 19, 20, 21, 22, 23), (15, 17, 19, 21, 23)]
    """
    window = _list_window(best, 9, first, last)
    sets = [_list_window(best, 7, first, last), window]
    early = list(range(first, min(last, best + _REACH) + 1))[:_MOST]
    if early in sets:
        early = [*([early[0] - 1] if early[0] > first else []), *early[:-1]]
    sets.append(early)
    late = list(range(max(first, best - _REACH), last + 1))[-_MOST:]
    if late in sets:
        late = late[1:]
    sets.append(late)
    sparse = window[::2]
    if sparse in sets:
        sparse = window[1::2]
    sets += [sparse, sorted({*_list_window(best, 5, first, last), *sparse})]
    return [(*(layer for layer in members if layer != last), last) for members in sets]


def weigh_members(members: Sequence[int], scores: Tensor) -> Tensor:
    """Compute the weights (n,) of a set's n members, which add up to one.

    A member weighs more if its score is high and if it is near the last member.

    Args:
        members: numbers of the layers, the last candidate at the end.
        scores: scores (n,) of these layers.
    """
    distances = torch.tensor([float(members[-1] - layer) for layer in members], device=scores.device)
    weights = (_CONTRAST * (scores - scores.mean()) - _DECAY * distances).softmax(dim=0)
    weights = weights.clamp(min=_LEAST_SHARE / len(members))
    return weights / weights.sum()


def _list_window(centre: int, width: int, first: int, last: int) -> list[int]:
    """List the layers of a window around a layer, moved so that it has its width, downwards first."""
    radius = (width - 1) // 2
    low, high = max(first, centre - radius), min(last, centre + radius)
    missing = width - (high - low + 1)
    below = min(missing, low - first)
    return list(range(low - below, min(last, high + missing - below) + 1))
