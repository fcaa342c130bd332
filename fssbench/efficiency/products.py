"""Rules for the FLOPs of products that torch's counter leaves out: those that are added in place, and with vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch

Shape = Sequence[int]


def _count_with_matrix(added: Shape, one: Shape, other: Shape, **_: object) -> int:
    """Count a product (..., M, K) with (..., K, N) that is added to something."""
    return 2 * prod(one) * other[-1]


def _count_with_vector(one: Shape, vector: Shape, **_: object) -> int:
    """Count a product of a matrix (M, K), or a vector (K), with a vector (K)."""
    return 2 * prod(one)


def _count_added_with_vector(added: Shape, matrix: Shape, vector: Shape, **_: object) -> int:
    """Count a product of a matrix (M, K) with a vector (K) that is added to something."""
    return 2 * prod(matrix)


_ATEN = torch.ops.aten
FURTHER_PRODUCTS: dict[object, Callable[..., int]] = {
    _ATEN.addmm_: _count_with_matrix,
    _ATEN.baddbmm_: _count_with_matrix,
    _ATEN.addbmm: _count_with_matrix,
    _ATEN.addbmm_: _count_with_matrix,
    _ATEN.mv: _count_with_vector,
    _ATEN.dot: _count_with_vector,
    _ATEN.addmv: _count_added_with_vector,
    _ATEN.addmv_: _count_added_with_vector,
}
"""Rule of each product: from the shapes of its arguments to FLOPs, two per multiply-add."""
