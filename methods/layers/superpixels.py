"""Superpixels inside an object: the seeds of clusters, and the clustering, of ASGNet and AAFormer.

Li et al., CVPR 2021, section 4.1.  Seeds are placed as in maskSLIC (Irving, 2016): each seed is as far as possible
from the object's edge and from the earlier seeds.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_SPREAD = 100
"""Divisor of squared distances between places.  It weighs them against distances between features."""


def sample_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Sample a mask (H, W) at `size`.  Each cell takes the pixel at its top-left corner, as in OpenCV."""
    rows, columns = (
        np.floor(np.arange(cells) * (1 / (cells / pixels))).astype(int).clip(max=pixels - 1)
        for cells, pixels in zip(size, mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]


def place_seeds(mask: NDArray[np.bool_], most: int, area: int = 100) -> list[tuple[int, int]]:
    """Place seeds (row, column) in an object: one per `area` cells, at most `most`.  Fewer than two give no seed."""
    count = min(round(int(mask.sum()) / area), most)
    return [] if count < 2 else spread_seeds(mask, count)


def spread_seeds(mask: NDArray[np.bool_], count: int) -> list[tuple[int, int]]:
    """Place seeds (row, column) in an object, each as far as possible from its edge and from the seeds before it.

    Distances are Euclidean, within the object's bounding box.  Of equal distances the first in reading order is
    taken.  The reference smooths distances with a Gaussian of deviation 0.1, whose kernel is a single one.

    Args:
        mask: the object's cells (h, w).
        count: number of seeds.  Further ones than the object has cells are the first cell of its bounding box.

    Returns:
        `count` seeds; none without a cell.
    """
    from scipy.ndimage import distance_transform_edt

    if not mask.any():
        return []
    corner = np.argwhere(mask).min(axis=0)
    end = np.argwhere(mask).max(axis=0) + 1
    free = mask[corner[0] : end[0], corner[1] : end[1]].copy()
    seeds = []
    for _ in range(count):
        # in a box without a cell outside the object, scipy measures from a point above the first cell
        row, column = np.unravel_index(int(distance_transform_edt(free).argmax()), free.shape)
        free[row, column] = False
        seeds.append((int(row + corner[0]), int(column + corner[1])))
    return seeds


def select_seeds(seeds: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Select the first seeds, as the reference does.

    Their number is the number of seeds with a non-zero row, or of those with a non-zero column if these are more.
    """
    columns = list(zip(*seeds, strict=True))
    return seeds[: max((sum(value != 0 for value in column) for column in columns), default=0)]


def cluster(features: Tensor, inside: Tensor, seeds: list[tuple[int, int]], steps: int) -> Tensor:
    """Compute the centres of soft clusters of an object's cells, by feature and place.

    Args:
        features: maps (C, h, w).
        inside: cells of the object (h, w), bool, at least one.
        seeds: cells where the centres start.
        steps: number of updates.

    Returns:
        One feature vector per seed, (S, C).
    """
    place = torch.stack(
        torch.meshgrid(*(torch.arange(n, device=features.device) for n in inside.shape), indexing="ij")
    ).to(features.dtype)
    cells, places = features[:, inside].T, place[:, inside].T
    index = torch.tensor(seeds, device=features.device)
    centres, middles = features[:, index[:, 0], index[:, 1]].T, index.to(features.dtype)
    for _ in range(steps):
        apart = (
            _compute_squared_distances(centres, cells)
            .add(_compute_squared_distances(middles, places) / _SPREAD)
            .sqrt()
        )
        share = torch.softmax(-apart, dim=1)
        centres, middles = share @ cells, share @ places
    return centres


def _compute_squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Compute squared Euclidean distances of rows (S, C) and (N, C): (S, N).  Differences come first, for exactness."""
    return (a.unsqueeze(1) - b.unsqueeze(0)).square().sum(dim=2)
