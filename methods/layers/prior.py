"""The prior mask of PFENet and its relatives."""

from __future__ import annotations

import torch
from torch import Tensor

from .correlation import find_nonzero, select_cells

_EPS = 1e-7


def compute_prior_mask(query: Tensor, objects: Tensor) -> Tensor:
    """Compute the similarity of each query cell to its most similar object cell, scaled to 0..1 per image.

    PFENet, section 3.2: the cosine of high-level features, maximum over support cells.

    Args:
        query: query features (B, C, h, w).
        objects: support features under their mask (B, C, hs, ws).  Cells outside of the mask are zero, and
            their cosine with every cell is zero.

    Returns:
        Prior masks (B, h, w).
    """
    cells, others = query.flatten(2), objects.flatten(2)
    if query.device.type == "cpu":
        best = torch.stack([_find_best(*pair) for pair in zip(cells, others, strict=True)])
    else:  # a GPU would have to wait for the number of object cells
        best = _compute_cosines(cells, others).amax(dim=1)
    low, high = best.amin(dim=1, keepdim=True), best.amax(dim=1, keepdim=True)
    return ((best - low) / (high - low + _EPS)).unflatten(1, query.shape[-2:])


def _find_best(cells: Tensor, others: Tensor) -> Tensor:
    """Find the largest cosine (N) of each query cell (C, N) with support cells (C, M), without those that are zero."""
    inside = find_nonzero([others.unsqueeze(0)])
    if len(inside) == others.shape[1]:
        return _compute_cosines(cells, others).amax(dim=0)
    zeros = cells.new_zeros(1, cells.shape[1])  # the cosine with what is left out
    objects = select_cells(others.unsqueeze(0), inside)[0]
    return torch.cat([_compute_cosines(cells, objects), zeros]).amax(dim=0)


def _compute_cosines(cells: Tensor, others: Tensor) -> Tensor:
    """Compute the cosines (..., M, N) of query cells (..., C, N) with support cells (..., C, M)."""
    lengths = others.norm(dim=-2).unsqueeze(-1) * cells.norm(dim=-2, keepdim=True)
    return others.transpose(-1, -2) @ cells / (lengths + _EPS)
