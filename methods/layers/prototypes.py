"""Prototypes: averages of features under weights, and vectors of unit length.

Papers add different numbers to a denominator.  That number is therefore an argument without a default.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sum_weighted(features: Tensor, weights: Tensor) -> Tensor:
    """Sum features (..., C, h, w) over cells with weights (..., h, w): (..., C).

    This is a matrix product.  It needs no memory for a map of products, and it sums in another order than
    `average_over`.
    """
    return torch.einsum("...cn,...n->...c", features.flatten(-2), weights.flatten(-2))


def average_weighted(features: Tensor, weights: Tensor, eps: float = 5e-4) -> Tensor:
    """Average features over cells with weights, in the order of `sum_weighted` (PFENet's rule).

    Args:
        features: maps (..., C, h, w).
        weights: weights (..., h, w), not negative.
        eps: number that is added to the sum of the weights.

    Returns:
        Averages (..., C).  They are zero if all weights are zero.
    """
    return sum_weighted(features, weights) / (weights.sum(dim=(-2, -1)).unsqueeze(-1) + eps)


def average_over(
    features: Tensor, weights: Tensor, dim: int | tuple[int, ...], *, eps: float, keepdim: bool = False
) -> Tensor:
    """Average features over some dimensions, with weights that broadcast to them.

    Args:
        features: tensor of any shape.
        weights: weights, not negative.
        dim: dimensions to average over.
        eps: number that is added to the sum of the weights.
        keepdim: whether the averaged dimensions remain, with length one.
    """
    sums = (features * weights).sum(dim=dim, keepdim=keepdim)
    return sums / (weights.sum(dim=dim, keepdim=keepdim) + eps)


def compute_lengths(vectors: Tensor, dim: int) -> Tensor:
    """Compute the lengths of vectors along `dim`, which remains with length one.

    On a CPU, a sum of squares takes a third to a half of the time of torch's norm; its gradient at zero is not finite.
    """
    if vectors.device.type != "cpu" or (vectors.requires_grad and torch.is_grad_enabled()):
        lengths: Tensor = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
        return lengths
    return vectors.square().sum(dim=dim, keepdim=True).sqrt()


def scale_to_unit(vectors: Tensor, dim: int = 1, *, eps: float) -> Tensor:
    """Divide vectors along `dim` by their length plus `eps`.

    `torch.nn.functional.normalize` follows another rule: it only bounds the length from below.
    """
    return vectors / (compute_lengths(vectors, dim) + eps)
