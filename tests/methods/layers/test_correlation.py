"""Affinities: which cells count, and how their vectors are scaled."""

from __future__ import annotations

import math

import pytest
import torch
from fssbench.methods.layers.correlation import LENGTH_EPS, find_nonzero, scale_cells, select_cells
from fssbench.methods.layers.prototypes import scale_to_unit

PRECISIONS = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


@PRECISIONS
@pytest.mark.parametrize("value", [2.0, -2.0, 1e-38, 3e38, -math.inf, math.nan])
def test_one_value_in_one_map_makes_a_cell_count(dtype: torch.dtype, value: float) -> None:
    maps = [torch.zeros(2, 5, 7, dtype=dtype), torch.zeros(2, 3, 7, dtype=dtype)]
    maps[0][:, :, 2] = -0.0
    assert find_nonzero(maps).tolist() == []
    maps[1][1, 2, 4] = value
    maps[0][0, 1, 6] = -value
    assert find_nonzero(maps).tolist() == [4, 6]


def test_values_that_cancel_out_make_a_cell_count() -> None:
    assert find_nonzero([torch.tensor([[[0.0, 1.5], [0.0, -1.5]]])]).tolist() == [1]


@PRECISIONS
def test_selected_cells_are_those_at_their_places(dtype: torch.dtype) -> None:
    maps = torch.randn(2, 3, 4, 9).to(dtype)[..., 2:7].flatten(2)
    for places in ([], [4], [0, 3, 19]):
        assert torch.equal(select_cells(maps, torch.tensor(places, dtype=torch.int64)), maps[:, :, places])


@torch.no_grad()
def test_cells_in_bfloat16_are_scaled_by_lengths_in_single_precision() -> None:
    maps = (torch.randn(2, 700, 11) * torch.logspace(-3, 3, 11)).bfloat16()
    maps[..., 5] = 0
    before = maps.clone()
    scaled, expected = scale_cells(maps), scale_to_unit(maps.float(), eps=LENGTH_EPS)
    assert scaled.dtype == torch.bfloat16
    assert torch.equal(maps, before), "the features belong to the cache"
    # the inverse of the length and the product are rounded to eight bits: by at most 2 ** -8 of each
    assert ((scaled - expected).abs() <= expected.abs() * 2.02 * 2**-8).all()
    assert (scaled[..., 5] == 0).all()


@torch.no_grad()
def test_cells_in_float16_are_scaled_without_an_overflow() -> None:
    """The inverse of the smallest length, 1e5, is larger than the largest number of float16."""
    maps = torch.randn(2, 70, 11).half()
    maps[..., 5] = 0
    scaled = scale_cells(maps)
    assert scaled.dtype == torch.float16
    assert torch.equal(scaled, scale_to_unit(maps.float(), eps=LENGTH_EPS).half())


@torch.no_grad()
def test_cells_in_single_precision_are_scaled_to_the_bit() -> None:
    maps = torch.randn(2, 70, 11)
    assert torch.equal(scale_cells(maps), scale_to_unit(maps, eps=LENGTH_EPS))
