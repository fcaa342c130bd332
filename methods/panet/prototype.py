"""Averages of features under a mask at image resolution, and cosines with these averages."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..layers.prototypes import sum_weighted


def _make_interpolation(cells: int, pixels: int, like: Tensor) -> Tensor:
    """Compute the matrix (cells, pixels) of a one-dimensional bilinear resize, corners not aligned."""
    unit_vectors = torch.eye(cells, dtype=like.dtype, device=like.device)
    return functional.interpolate(unit_vectors.unsqueeze(0), pixels, mode="linear", align_corners=False)[0]


def compute_cell_weights(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Compute the weight of each feature cell in the sum of features, resized to a mask's size, over the mask.

    A bilinear resize is linear.  The sum of resized features over the pixels of a mask therefore equals a weighted sum
    of the features, with the transposed resize of the mask as weights.  Features at image size (hundreds of megabytes)
    are never computed.

    Args:
        mask: masks (..., H, W).
        size: height and width of the features.

    Returns:
        Weights (..., *size).  Their sum equals the sum of the mask.
    """
    rows = _make_interpolation(size[0], mask.shape[-2], mask)
    columns = _make_interpolation(size[1], mask.shape[-1], mask)
    return rows @ mask @ columns.transpose(0, 1)


def average_masked(features: Tensor, mask: Tensor, eps: float = 1e-5) -> Tensor:
    """Average features over the pixels of a mask, as if they were resized bilinearly (corners not aligned) to its size.

    Args:
        features: maps (B, K, C, h, w).
        mask: masks (B, K, H, W), values 0..1.
        eps: number that is added to the mask's sum.  The prototype of an empty mask is zero.

    Returns:
        One vector per image, (B, K, C).
    """
    height, width = features.shape[-2:]
    weights = compute_cell_weights(mask, (int(height), int(width)))
    return sum_weighted(features, weights) / (mask.sum(dim=(2, 3)).unsqueeze(2) + eps)


def compute_cosines(prototypes: Tensor, features: Tensor) -> Tensor:
    """Compute the cosine of every cell of features (B, C, h, w) with prototypes (B, P, C): (B, P, h, w)."""
    cells = functional.normalize(features, dim=1, eps=1e-8)
    return torch.einsum("bchw,bpc->bphw", cells, functional.normalize(prototypes, dim=2, eps=1e-8))
