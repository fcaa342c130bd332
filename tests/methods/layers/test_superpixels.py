"""Seeds against distances written out and against the reference's smoothing, clusters against their definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fssbench.methods.layers.superpixels import cluster, place_seeds, sample_mask, select_seeds
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]


def seeds_by_definition(mask: Mask, most: int) -> list[tuple[int, int]]:
    """The rule with all distances written out, squared and so exact."""
    count = int(min(np.round(mask.sum() / 100), most))
    if count < 2:
        return []
    rows, columns = np.nonzero(mask)
    box = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].copy()
    y, x = np.indices(box.shape)
    seeds = []
    for _ in range(count):
        # as scipy does, and so the reference
        outside = np.argwhere(~box) if not box.all() else np.array([[-1, 0]])
        squares = np.stack([(y - row) ** 2 + (x - column) ** 2 for row, column in outside]).min(axis=0)
        row, column = (int(n) for n in np.argwhere(squares == squares.max())[0])
        box[row, column] = False
        seeds.append((row + int(rows.min()), column + int(columns.min())))
    return seeds


def seeds_by_reference(mask: Mask, most: int) -> list[tuple[int, int]]:
    """The rule, as the paper's appendix and maskSLIC state it, with the reference's smoothing."""
    count = int(min(np.round(mask.sum() / 100), most))
    if count < 2:
        return []
    rows, columns = np.nonzero(mask)
    box = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].copy()
    seeds = []
    for _ in range(count):
        depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(box), sigma=0.1)
        row, column = (int(n) for n in np.argwhere(depth == depth.max())[0])
        box[row, column] = False
        seeds.append((row + int(rows.min()), column + int(columns.min())))
    return seeds


def blob(seed: int, side: int) -> Mask:
    """A random region: ellipses, a rectangle, or scattered cells."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    mask = np.zeros((side, side), dtype=bool)
    for _ in range(random.integers(1, 4)):
        (cy, cx), (ry, rx) = random.uniform(0, side, 2), random.uniform(side / 8, side / 2, 2)
        mask |= ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
    if seed % 3 == 0:
        mask &= random.random((side, side)) < 0.9
    return mask


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([17, 33, 48]), st.integers(1, 6))
def test_seeds_are_where_the_rule_puts_them(seed: int, side: int, most: int) -> None:
    mask = blob(seed, side)
    assert place_seeds(mask, most) == seeds_by_definition(mask, most) == seeds_by_reference(mask, most)


@pytest.mark.parametrize("box", [(12, 20), (30, 9), (33, 33)])
def test_a_full_box_has_seeds_too(box: tuple[int, int]) -> None:
    mask = np.zeros((33, 33), dtype=bool)
    mask[-box[0] :, -box[1] :] = True
    assert place_seeds(mask, 5) == seeds_by_definition(mask, 5) == seeds_by_reference(mask, 5)


@pytest.mark.parametrize(
    ("area", "count"), [(0, 0), (100, 0), (149, 0), (150, 2), (249, 2), (250, 2), (251, 3), (900, 5)]
)
def test_one_seed_for_each_hundred_cells(area: int, count: int) -> None:
    mask = np.zeros(1024, dtype=bool)
    mask[:area] = True
    seeds = place_seeds(mask.reshape(32, 32), 5)
    assert len(seeds) == len(set(seeds)) == count
    assert all(mask.reshape(32, 32)[seed] for seed in seeds)


def test_the_mask_is_left_alone() -> None:
    mask = blob(1, 33)
    before = mask.copy()
    place_seeds(mask, 5)
    assert (mask == before).all()


def test_seeds_on_the_first_row_or_column_are_miscounted_as_published() -> None:
    assert select_seeds([]) == []
    assert select_seeds([(3, 4), (5, 6)]) == [(3, 4), (5, 6)]
    assert select_seeds([(0, 4), (5, 6)]) == [(0, 4), (5, 6)]
    assert select_seeds([(0, 4), (5, 0)]) == [(0, 4)]


@pytest.mark.parametrize(("side", "cells"), [(257, 33), (473, 60), (64, 8), (97, 7)])
def test_nearest_takes_the_pixel_at_the_floor(side: int, cells: int) -> None:
    mask = np.random.default_rng(0).random((side, side)) > 0.5
    small = sample_mask(mask, (cells, cells))
    for i in range(cells):
        for j in (0, cells // 2, cells - 1):
            assert small[i, j] == mask[i * side // cells, j * side // cells]


def test_seeds_equal_the_references(golden: Callable[[str], Any]) -> None:
    reference = golden("asgnet_resnet50_fem_257")
    for size, shots, field in ((257, 5, "seeds"), (473, 1, "seeds_473")):
        masks = reference.episode(size, shots)[2][0].numpy() == 1
        cells = (size - 1) // 8 + 1
        for mask, wanted in zip(masks, reference.file[field][0], strict=True):
            result = place_seeds(sample_mask(mask, (cells, cells)), 5)
            assert result == [tuple(row) for row in wanted.tolist() if any(row)]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.integers(1, 4))
def test_clusters_by_their_definition(seed: int, steps: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(4, 6, 7, generator=generator, dtype=torch.float64)
    inside = torch.rand(6, 7, generator=generator) > 0.4
    inside[2, 3] = inside[4, 1] = True
    cells = [(y, x) for y in range(6) for x in range(7) if inside[y, x]]
    centres = [(features[:, y, x], torch.tensor([y, x], dtype=torch.float64)) for y, x in ((2, 3), (4, 1))]
    for _ in range(steps):
        moved = []
        for vector, place in centres:
            weights = []
            for y, x in cells:
                apart = ((features[:, y, x] - vector) ** 2).sum()
                apart = apart + ((torch.tensor([y, x]) - place) ** 2).sum() / 100
                weights.append(torch.exp(-apart.sqrt()))
            total = torch.stack(weights).sum()
            moved.append(
                (
                    sum(w * features[:, y, x] for w, (y, x) in zip(weights, cells, strict=True)) / total,
                    sum(w * torch.tensor([y, x]) for w, (y, x) in zip(weights, cells, strict=True)) / total,
                )
            )
        centres = moved  # type: ignore[assignment]
    result = cluster(features, inside, [(2, 3), (4, 1)], steps)
    assert torch.allclose(result, torch.stack([vector for vector, _ in centres]))


def test_no_step_leaves_the_seeds_themselves() -> None:
    features = torch.randn(3, 5, 5)
    result = cluster(features, torch.ones(5, 5, dtype=torch.bool), [(1, 2), (4, 0)], 0)
    assert torch.equal(result, torch.stack([features[:, 1, 2], features[:, 4, 0]]))
