"""A segmenter without a network, for the ablation of SAM and for tests: pixels of the click's colour near the click."""

from __future__ import annotations

import torch
from torch import Tensor

_WIDTH = 0.5
"""Difference of colour, summed over red, green and blue, at which the limit is reached."""
_REACH = 400 / 1024
"""Distance from the click at which the limit is reached, as a share of the side."""


def segment_by_colour(image: Tensor, clicks: Tensor) -> Tensor:
    """Segment an image at clicks by colour and distance.

    Args:
        image: pixels from 0 to 1 (3, S, S).
        clicks: x and y of each click in pixels (N, 2).

    Returns:
        One mask per click (N, S, S), bool.
    """
    side = image.shape[-1]
    line = torch.arange(side, device=image.device, dtype=image.dtype)
    masks = []
    for x, y in clicks.tolist():
        contrast = (image - image[:, y, x, None, None]).abs().sum(dim=0)
        distance = ((line - x).square()[None] + (line - y).square()[:, None]).sqrt()
        masks.append(1 - contrast / _WIDTH - distance / (_REACH * side) > 0)
    return torch.stack(masks)
