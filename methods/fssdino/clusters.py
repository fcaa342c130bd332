"""k-means with the cosine, from a start that draws no random numbers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Start = Literal["spread", "strided"]
_TOLERANCE = 1e-4
_MOST_ROUNDS = 1000
"""The reference has no limit; it ends after some dozens of rounds."""


def find_centres(patches: Tensor, count: int, start: Start) -> Tensor:
    """Find the cluster centres of patches.

    Patches are assigned by the largest cosine, the first centre on ties.  A centre is the mean of its members, which
    are not normalised.  The rounds end if the squared sum of the centres' Euclidean shifts is below 1e-4, in the units
    of the features.  A centre without members takes the patch that is farthest from its own centre.

    Args:
        patches: (N, C).
        count: number of centres.  Fewer patches are themselves the centres.
        start: rule for the first centres, see `choose_start`.

    Returns:
        Centres, (min(N, count), C).
    """
    if len(patches) < count:
        return patches
    centres = patches[choose_start(patches, count, start)]
    directions = functional.normalize(patches, dim=1)
    for _ in range(_MOST_ROUNDS):
        cosines = directions @ functional.normalize(centres, dim=1).T
        nearest, members = cosines.max(dim=1)
        belongs = functional.one_hot(members, count).to(patches.dtype)
        sizes = belongs.sum(dim=0)
        moved = (belongs.T @ patches) / sizes.clamp(min=1).unsqueeze(1)
        for empty in (sizes == 0).nonzero()[:, 0].tolist():
            farthest = int(nearest.argmin())
            moved[empty] = patches[farthest]
            nearest[farthest] = 1.0
        shift = torch.linalg.vector_norm(moved - centres, dim=1).sum()
        centres = moved
        if shift * shift < _TOLERANCE:
            break
    return centres


def choose_start(patches: Tensor, count: int, start: Start) -> Tensor:
    """Choose the patches (N, C) from which the centres start, as indices (count,).

    `spread`: the patch that is farthest from the mean, then always the one that is farthest from the chosen ones, by
    Euclidean distance.  It depends on the values alone, so the order of the supports does not matter.  `strided`: the
    patches at equal steps of the list.
    """
    if start == "strided":
        steps = torch.arange(count, device=patches.device, dtype=torch.float64)
        return ((steps + 0.5) * len(patches) / count).floor().long()
    apart = torch.linalg.vector_norm(patches - patches.mean(dim=0), dim=1)
    chosen = [int(apart.argmax())]
    apart = torch.full_like(apart, torch.inf)
    while len(chosen) < count:
        apart = torch.minimum(apart, torch.linalg.vector_norm(patches - patches[chosen[-1]], dim=1))
        chosen.append(int(apart.argmax()))
    return torch.tensor(chosen, device=patches.device)
