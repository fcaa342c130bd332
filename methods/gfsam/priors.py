"""Maps that say where the object may be, and the points that are chosen from them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_EPS_COSINE, _EPS_MEAN, _EPS_RANGE = 1e-7, 1e-7, 1e-6
MOST_POINTS = 128
"""Points of one query at most."""


class Priors(NamedTuple):
    """Similarity of each query cell with the supports, each map (h, w), as the mean over the supports."""

    positive_max: Tensor
    """Largest cosine with a cell of the object."""
    positive_mean: Tensor
    """Mean cosine with the object."""
    negative_max: Tensor
    """Largest cosine with a cell of the background."""
    negative_mean: Tensor
    """Mean cosine with the background."""

    @property
    def half(self) -> Tensor:
        """Half way between the smallest and the largest value of the mean map of the object."""
        return (self.positive_mean.max() + self.positive_mean.min()) / 2

    def filter(self, *, negative: bool) -> Tensor:
        """Return where the object is likely (h, w), from 0 to 1; 0 where the background is likelier.

        Args:
            negative: whether the background counts.
        """
        cross = _spread(self.positive_mean * self.positive_max)
        if not negative:
            return cross
        return torch.where(_spread(self.negative_mean) > cross, 0.0, cross)


def normalise_tokens(cells: Tensor) -> Tensor:
    """Divide each channel by its norm over the cells of the same image: (..., C, N)."""
    return functional.normalize(cells, dim=-1)


def compare_cells(query: Tensor, support: Tensor) -> Tensor:
    """Compute the cosines between query cells (C, N) and support cells (C, M): (N, M)."""
    norms = query.norm(dim=0)[:, None] * support.norm(dim=0)[None]
    return (query.T @ support) / (norms + _EPS_COSINE)


def average_inside(cosines: Tensor, inside: Tensor) -> Tensor:
    """Average cosines (N, M) over the part `inside` (M) of the support, from 0 to 1: (N)."""
    return (cosines * inside).mean(dim=1) / (inside.mean() + _EPS_MEAN)


def compute_priors(query: Tensor, supports: Tensor, masks: Tensor, size: tuple[int, int]) -> Priors:
    """Compare a query with its supports.

    Args:
        query: cells of the query (C, N).
        supports: cells of the supports (K, C, N).
        masks: masks of the supports on the grid (K, N), from 0 to 1.
        size: rows and columns of the grid.
    """
    maps = []
    for cells, mask in zip(supports, masks, strict=True):
        cosines = compare_cells(query, cells)
        for inside in (mask, 1 - mask):
            maps += [(cosines * inside).amax(dim=1), average_inside(cosines, inside)]
    mean = torch.stack(maps).unflatten(0, (len(supports), 4)).mean(dim=0)
    return Priors(*mean.unflatten(1, size))


def choose_points(filtered: Tensor) -> Tensor:
    """Choose as many cells as the sum of the map says, the highest first; none if the map is zero.

    Args:
        filtered: the map (h, w).

    Returns:
        Columns and rows (N, 2), ordered by column and then by row.  Of equal values the first cell is taken.
    """
    total = float(filtered.sum())
    count = min(int(total), MOST_POINTS) or int(total > 0)
    cells = filtered.flatten().sort(descending=True, stable=True).indices[:count]
    columns = filtered.shape[1]
    places = torch.stack([cells % columns, cells // columns], dim=1)
    return places[(places[:, 0] * filtered.shape[0] + places[:, 1]).argsort()]


def _spread(values: Tensor) -> Tensor:
    """Move the values of a map to the range from 0 to 1."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low + _EPS_RANGE)
