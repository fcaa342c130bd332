"""The part of features that depends on the place in the image and not on its content."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_REFERENCE_COMPONENTS, _REFERENCE_CHANNELS = 500, 1024
_LEAST_SHARE = 1e-4


def find_basis(blank: Tensor, components: int | None) -> Tensor:
    """Find the directions in which the features of a blank image vary.

    Args:
        blank: features of a blank image (C, h, w).
        components: number of directions; None for the rule of `count_components`.

    Returns:
        An orthonormal basis (C, k).  k is at most the number of directions that there are.
    """
    cells = functional.normalize(blank.flatten(1), dim=0)
    vectors, singular, _ = torch.linalg.svd(cells - cells.mean(dim=1, keepdim=True), full_matrices=False)
    count = count_components(singular, len(blank)) if components is None else components
    return vectors[:, :count]


def count_components(singular: Tensor, channels: int) -> int:
    """Count the directions that are taken out by default: as large a share of the channels as in ViT-L, 500 of 1,024.

    Directions whose singular value is below 1e-4 of the first are arbitrary and not counted.
    """
    share = round(channels * _REFERENCE_COMPONENTS / _REFERENCE_CHANNELS)
    return min(share, int((singular > _LEAST_SHARE * singular[0]).sum()))


def remove_positions(directions: Tensor, basis: Tensor) -> Tensor:
    """Project vectors of unit length (N, C) away from a basis (C, k), and give them unit length again."""
    return functional.normalize(directions - (directions @ basis) @ basis.T, dim=1)
