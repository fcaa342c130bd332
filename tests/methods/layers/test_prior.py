"""Weighted averages and prior masks against their definitions, cell by cell."""

from __future__ import annotations

import pytest
import torch
from fssbench.methods.layers.prior import compute_prior_mask
from fssbench.methods.layers.prototypes import average_weighted
from hypothesis import given, settings, strategies as st
from torch.nn import functional


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
def test_average_is_the_sum_over_the_area(seed: int, channels: int, height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 3, channels, height, width, generator=generator, dtype=torch.float64)
    weights = torch.rand(2, 3, height, width, generator=generator, dtype=torch.float64)
    expected = (features * weights.unsqueeze(2)).sum((3, 4)) / (weights.sum((2, 3)) + 5e-4).unsqueeze(2)
    assert torch.allclose(average_weighted(features, weights), expected)
    assert torch.allclose(average_weighted(features[0, 0], weights[0, 0]), expected[0, 0])


def test_average_of_nothing_is_zero_and_of_a_constant_itself() -> None:
    features = torch.full((1, 4, 6, 6), 3.0)
    assert torch.equal(average_weighted(features, torch.zeros(1, 6, 6)), torch.zeros(1, 4))
    assert torch.allclose(average_weighted(features, torch.ones(1, 6, 6)), features[..., 0, 0], rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99))
def test_prior_is_the_largest_cosine_scaled(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(2, 7, 4, 5, generator=generator)
    objects = torch.randn(2, 7, 3, 2, generator=generator)
    for b in range(2):
        best = torch.tensor(
            [
                [
                    max(
                        float(functional.cosine_similarity(query[b, :, y, x], objects[b, :, v, u], dim=0))
                        for v in range(3)
                        for u in range(2)
                    )
                    for x in range(5)
                ]
                for y in range(4)
            ]
        )
        expected = (best - best.min()) / (best.max() - best.min())
        assert torch.allclose(compute_prior_mask(query, objects)[b], expected, atol=1e-4)


def test_prior_finds_the_cells_that_the_object_has() -> None:
    query = torch.zeros(1, 2, 4, 4)
    query[:, 0], query[:, :, 1:3, 2] = 1, torch.tensor([0.0, 2.0]).view(2, 1)
    objects = torch.zeros(1, 2, 3, 3)
    objects[0, 1, 1, 1] = 5
    expected = torch.zeros(1, 4, 4)
    expected[0, 1:3, 2] = 1
    assert torch.allclose(compute_prior_mask(query, objects), expected, atol=1e-5)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_prior_does_not_know_the_length_of_features(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    query, objects = (torch.randn(1, 6, 5, 5, generator=generator) for _ in range(2))
    assert torch.allclose(
        compute_prior_mask(query * scale, objects), compute_prior_mask(query, objects), atol=1e-5
    )
    assert torch.allclose(
        compute_prior_mask(query, objects * scale), compute_prior_mask(query, objects), atol=1e-5
    )


def test_without_an_object_the_prior_is_zero() -> None:
    assert torch.equal(
        compute_prior_mask(torch.randn(1, 6, 4, 4), torch.zeros(1, 6, 4, 4)), torch.zeros(1, 4, 4)
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.integers(0, 12))
def test_cells_outside_the_object_count_as_cosines_of_zero(seed: int, inside: int) -> None:
    """Of 12 cells some are inside; features that are far from all of them have a cosine of zero, not below."""
    generator = torch.Generator().manual_seed(seed)
    query, cells = (torch.randn(2, 6, 12, generator=generator, dtype=torch.float64) for _ in range(2))
    cells[..., inside:] = 0
    cells = cells[..., torch.randperm(12, generator=generator)]
    cosines = functional.normalize(cells, dim=1).transpose(1, 2) @ functional.normalize(query, dim=1)
    best = cosines.amax(dim=1)
    low, high = best.amin(dim=1, keepdim=True), best.amax(dim=1, keepdim=True)
    expected = ((best - low) / (high - low).clamp(min=1e-30)).view(2, 3, 4)
    assert torch.allclose(
        compute_prior_mask(query.view(2, 6, 3, 4), cells.view(2, 6, 4, 3)), expected, atol=1e-5
    )
