"""Averages under weights and unit vectors: both orders of summing agree, and each epsilon is where it is said to be."""

from __future__ import annotations

import pytest
import torch
from fssbench.methods.layers.prototypes import average_over, average_weighted, scale_to_unit


@pytest.mark.parametrize("eps", [0.0, 1e-5, 0.5])
def test_both_orders_of_summing_give_one_average(eps: float) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 5, 7, generator=generator, dtype=torch.float64)
    weights = torch.rand(2, 5, 7, generator=generator, dtype=torch.float64)
    by_product = average_weighted(features, weights, eps)
    by_sum = average_over(features, weights.unsqueeze(1), (2, 3), eps=eps)
    explicit = torch.stack(
        [(f * w).sum(dim=(1, 2)) / (w.sum() + eps) for f, w in zip(features, weights, strict=True)]
    )
    assert torch.allclose(by_product, explicit)
    assert torch.allclose(by_sum, explicit)


def test_kept_dimensions_have_length_one() -> None:
    mean = average_over(torch.ones(2, 3, 4, 4), torch.ones(2, 1, 4, 4), (2, 3), eps=0, keepdim=True)
    assert mean.shape == (2, 3, 1, 1)
    assert torch.equal(mean, torch.ones_like(mean))


@pytest.mark.parametrize("dim", [-1, 0, 1])
def test_epsilon_is_added_to_the_length(dim: int) -> None:
    vectors = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lengths = vectors.norm(dim=dim)
    assert torch.allclose(scale_to_unit(vectors, dim, eps=0.5).norm(dim=dim), lengths / (lengths + 0.5))
    assert torch.equal(scale_to_unit(torch.zeros(4, 5), dim, eps=1e-6), torch.zeros(4, 5))
