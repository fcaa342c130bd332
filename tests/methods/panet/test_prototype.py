"""Masked averages by the transposed resize, against resizing the features as the definition says."""

from __future__ import annotations

import torch
from fssbench.methods.panet.prototype import average_masked, compute_cell_weights, compute_cosines
from hypothesis import given, settings, strategies as st
from torch.nn import functional


@settings(max_examples=30, deadline=None)
@given(
    cells=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    pixels=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 99),
)
def test_equals_the_average_over_resized_features(
    cells: tuple[int, int], pixels: tuple[int, int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 3, 4, *cells, generator=generator, dtype=torch.float64)
    mask = (torch.rand(2, 3, *pixels, generator=generator) > 0.6).double()
    up = functional.interpolate(features.flatten(0, 1), pixels, mode="bilinear", align_corners=False)
    sums = (up.unflatten(0, (2, 3)) * mask.unsqueeze(2)).sum(dim=(3, 4))
    expected = sums / (mask.sum(dim=(2, 3)) + 1e-5).unsqueeze(2)
    assert torch.allclose(average_masked(features, mask), expected, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.tuples(st.integers(1, 9), st.integers(1, 9)), st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_weights_sum_to_the_mask(cells: tuple[int, int], pixels: tuple[int, int]) -> None:
    mask = torch.rand(3, *pixels, dtype=torch.float64)
    weights = compute_cell_weights(mask, cells)
    assert weights.shape == (3, *cells)
    assert torch.allclose(weights.sum(dim=(1, 2)), mask.sum(dim=(1, 2)))


def test_empty_mask_gives_the_zero_prototype() -> None:
    assert torch.equal(
        average_masked(torch.randn(1, 2, 5, 4, 4), torch.zeros(1, 2, 9, 9)), torch.zeros(1, 2, 5)
    )


def test_cosine_is_torch_s() -> None:
    features, prototypes = torch.randn(2, 6, 3, 4), torch.randn(2, 2, 6)
    expected = functional.cosine_similarity(features.unsqueeze(1), prototypes[..., None, None], dim=2)
    assert torch.allclose(compute_cosines(prototypes, features), expected, atol=1e-6)
