"""What PFENet and its relatives read off support features: the averaged vector and the prior mask."""

from __future__ import annotations

import torch
from torch import Tensor


def weighted_average(features: Tensor, weights: Tensor, eps: float = 5e-4) -> Tensor:
    """Average of features over cells, weighted; zero where all weights are.

    Args:
        features: (..., C, h, w).
        weights: (..., h, w), not negative.
        eps: added to the sum of the weights.

    Returns:
        (..., C).
    """
    sums = torch.einsum("...cn,...n->...c", features.flatten(-2), weights.flatten(-2))
    return sums / (weights.sum(dim=(-2, -1)).unsqueeze(-1) + eps)


def prior_mask(query: Tensor, objects: Tensor) -> Tensor:
    """How much each query cell is like its most alike object cell, scaled to 0..1 in each image.

    PFENet, section 3.2: the cosine of high-level features, maximum over support cells.

    Args:
        query: (B, C, h, w).
        objects: support features under their mask, (B, C, hs, ws); cells outside it are zero and have
            cosine zero with everything.

    Returns:
        (B, h, w).
    """
    cells, others = query.flatten(2), objects.flatten(2).transpose(1, 2)
    norms = others.norm(dim=2, keepdim=True) * cells.norm(dim=1, keepdim=True)
    best = ((others @ cells) / (norms + 1e-7)).amax(dim=1)
    low, high = best.amin(dim=1, keepdim=True), best.amax(dim=1, keepdim=True)
    return ((best - low) / (high - low + 1e-7)).unflatten(1, query.shape[-2:])
