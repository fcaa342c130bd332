"""Prototypes: averages of features under weights, and vectors of unit length.

Papers differ in what they add to a denominator.  That number is therefore an argument and has no default.
"""

from __future__ import annotations

import torch
from torch import Tensor


def weighted_sum(features: Tensor, weights: Tensor) -> Tensor:
    """Sum features (..., C, h, w) over cells with weights (..., h, w): (..., C).

    This is a matrix product: it makes no map of products, and sums in another order than `weighted_mean`.
    """
    return torch.einsum("...cn,...n->...c", features.flatten(-2), weights.flatten(-2))


def weighted_average(features: Tensor, weights: Tensor, eps: float = 5e-4) -> Tensor:
    """Average features over cells with weights, in the order of `weighted_sum` (PFENet's rule).

    Args:
        features: (..., C, h, w).
        weights: (..., h, w), not negative.
        eps: added to the sum of the weights.

    Returns:
        (..., C); zeros where all weights are zero.
    """
    return weighted_sum(features, weights) / (weights.sum(dim=(-2, -1)).unsqueeze(-1) + eps)


def weighted_mean(
    features: Tensor, weights: Tensor, dim: int | tuple[int, ...], *, eps: float, keepdim: bool = False
) -> Tensor:
    """Average features over some dimensions with weights that broadcast to them.

    Args:
        features: of any shape.
        weights: not negative.
        dim: the dimensions that are averaged over.
        eps: added to the sum of the weights.
        keepdim: whether these dimensions stay, with length one.
    """
    sums = (features * weights).sum(dim=dim, keepdim=keepdim)
    return sums / (weights.sum(dim=dim, keepdim=keepdim) + eps)


def unit(vectors: Tensor, dim: int = 1, *, eps: float) -> Tensor:
    """Divide vectors along `dim` by their length, with `eps` added to the length.

    `torch.nn.functional.normalize` has another rule: it only bounds the length from below.
    """
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    return vectors / (lengths + eps)
