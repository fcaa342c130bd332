"""The prior mask of PFENet and its relatives."""

from __future__ import annotations

from torch import Tensor


def prior_mask(query: Tensor, objects: Tensor) -> Tensor:
    """Compute how similar each query cell is to its most similar object cell, scaled to 0..1 per image.

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
