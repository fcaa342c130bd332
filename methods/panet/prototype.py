"""Prototypes: masked averages of features, and the likeness of features to them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..layers.prototypes import weighted_sum


def _interpolation(cells: int, pixels: int, like: Tensor) -> Tensor:
    """The matrix (cells, pixels) of a one-dimensional bilinear resize, corners not aligned."""
    unit_vectors = torch.eye(cells, dtype=like.dtype, device=like.device)
    return functional.interpolate(unit_vectors.unsqueeze(0), pixels, mode="linear", align_corners=False)[0]


def cell_weights(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """How much of a mask each feature cell carries once features are resized to the mask's size.

    A bilinear resize is linear, so that summing resized features over a mask's pixels is summing the features
    themselves with weights: the mask through the transposed resize.  The sum over all pixels is the
    same; features at image size (hundreds of megabytes) are never made.

    Args:
        mask: (..., H, W).
        size: height and width of the features.

    Returns:
        Weights (..., *size); their sum is the mask's.
    """
    rows = _interpolation(size[0], mask.shape[-2], mask)
    columns = _interpolation(size[1], mask.shape[-1], mask)
    return rows @ mask @ columns.transpose(0, 1)


def masked_average(features: Tensor, mask: Tensor, eps: float = 1e-5) -> Tensor:
    """Average over a mask's pixels of features resized bilinearly (corners not aligned) to the mask's size.

    Args:
        features: (B, K, C, h, w).
        mask: (B, K, H, W), values 0..1.
        eps: added to the mask's sum; an empty mask has the prototype zero.

    Returns:
        One vector for each image, (B, K, C).
    """
    height, width = features.shape[-2:]
    weights = cell_weights(mask, (int(height), int(width)))
    return weighted_sum(features, weights) / (mask.sum(dim=(2, 3)).unsqueeze(2) + eps)


def cosine_to(prototypes: Tensor, features: Tensor) -> Tensor:
    """Cosine of every cell of features (B, C, h, w) with prototypes (B, P, C): (B, P, h, w)."""
    cells = functional.normalize(features, dim=1, eps=1e-8)
    return torch.einsum("bchw,bpc->bphw", cells, functional.normalize(prototypes, dim=2, eps=1e-8))
