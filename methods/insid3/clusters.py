"""Groups the cells of an image by average linkage of the cosine distance."""

from __future__ import annotations

import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor


def group_cells(directions: Tensor, tau: float) -> Tensor:
    """Group vectors of unit length (N, C): merged while the average cosine between two groups is above `tau`.

    Returns:
        The group of each vector (N,), numbered by the first vector of each group.
    """
    if len(directions) == 1:
        return torch.zeros(1, dtype=torch.long, device=directions.device)
    distances = 1 - (directions @ directions.T).clamp(-1, 1).double().cpu()
    distances = (distances + distances.T) / 2
    distances.fill_diagonal_(0)
    tree = linkage(squareform(distances.numpy(), checks=False), "average")
    labels = torch.from_numpy(fcluster(tree, 1 - tau, "distance")).long()
    numbers: dict[int, int] = {}
    ordered = [numbers.setdefault(label, len(numbers)) for label in labels.tolist()]
    return torch.tensor(ordered, device=directions.device)


def average_groups(vectors: Tensor, groups: Tensor) -> Tensor:
    """Average vectors (N, C) or values (N,) per group: (G, C) or (G,)."""
    belongs = torch.nn.functional.one_hot(groups).to(vectors.dtype)
    return (belongs / belongs.sum(dim=0)).T @ vectors
