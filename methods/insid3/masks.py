"""Reduces the mask of a support to the grid of its features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def reduce_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Reduce a mask (H, W) of zeros and ones to a grid, bool (h, w).

    A cell belongs to the object if its bilinear value is above one half.  If no cell does, the nearest pixel of each
    cell decides.  If still no cell does, it is the one cell that holds the mean position of the object.  An empty mask
    stays empty.
    """
    given = mask.float()[None, None]
    for options in ({"mode": "bilinear", "align_corners": False}, {"mode": "nearest"}):
        reduced = functional.interpolate(given, size, **options)[0, 0] > 0.5
        if bool(reduced.any()):
            return reduced
    pixels = (mask > 0).nonzero()
    reduced = torch.zeros(size, dtype=torch.bool, device=mask.device)
    if len(pixels):
        sides = [max(1, length // cells) for length, cells in zip(mask.shape, size, strict=True)]
        place = [
            min(int(mean / side), cells - 1)
            for mean, side, cells in zip(pixels.float().mean(dim=0).tolist(), sides, size, strict=True)
        ]
        reduced[place[0], place[1]] = True
    return reduced
