"""Rules for the FLOPs of products that torch's counter leaves out: in place, with vectors, and attention on a CPU."""

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


def _count_attention(query: Shape, key: Shape, value: Shape, *_: object, **__: object) -> int:
    """Count the scores (..., N, M) of queries (..., N, D) and keys (..., M, D), and their product with values."""
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


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
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _count_attention,
}
"""Rule of each product: from the shapes of its arguments to FLOPs, two per multiply-add."""
