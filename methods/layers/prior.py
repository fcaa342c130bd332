"""The prior mask of PFENet and its relatives."""

from __future__ import annotations

from torch import Tensor


def compute_prior_mask(query: Tensor, objects: Tensor) -> Tensor:
    """Compute the similarity of each query cell to its most similar object cell, scaled to 0..1 per image.

    PFENet, section 3.2: the cosine of high-level features, maximum over support cells.

    Args:
        query: query features (B, C, h, w).
        objects: support features under their mask (B, C, hs, ws).  Cells outside of the mask are zero, and
            their cosine
            with every cell is zero.

    Returns:
        Prior masks (B, h, w).
    """
    cells, others = query.flatten(2), objects.flatten(2).transpose(1, 2)
    norms = others.norm(dim=2, keepdim=True) * cells.norm(dim=1, keepdim=True)
    best = ((others @ cells) / (norms + 1e-7)).amax(dim=1)
    low, high = best.amin(dim=1, keepdim=True), best.amax(dim=1, keepdim=True)
    return ((best - low) / (high - low + 1e-7)).unflatten(1, query.shape[-2:])
