"""Position codes, token masks, token samples and the Dice loss, by their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from fssbench.methods.layers.dice import compute_dice_loss
from fssbench.methods.layers.token_sampling import (
    PER_SHOT,
    count_tokens,
    keep_order,
    make_random_order,
    sample_tokens,
)
from fssbench.methods.layers.transformer_parts import encode_positions, make_token_masks
from hypothesis import given, settings, strategies as st


def test_positions_are_sines_of_row_and_column() -> None:
    codes = encode_positions((3, 5), 12, torch.zeros(1, dtype=torch.float64)).view(3, 5, 12)
    for row in range(3):
        for column in range(5):
            for axis, (place, length) in enumerate(((row, 3), (column, 5))):
                for i in range(6):
                    turn = (place + 1) / (length + 1e-6) * 2 * math.pi / 10_000 ** (2 * (i // 2) / 6)
                    expected = (math.sin, math.cos)[i % 2](turn)
                    assert codes[row, column, 6 * axis + i] == pytest.approx(expected, abs=1e-9)


def test_every_support_has_object_and_background_tokens() -> None:
    masks = torch.zeros(1, 3, 64, 64)
    masks[0, 1] = 1
    masks[0, 2, :32] = 1
    none, full, half = make_token_masks(masks, (8, 8))[0]
    assert none.nonzero().tolist() == [[3, 3], [3, 4], [4, 3], [4, 4]]
    assert (~full).nonzero().tolist() == [[0, 0], [0, 7], [7, 0], [7, 7]]
    assert torch.equal(half, torch.arange(8)[:, None].expand(8, 8) < 4)


@settings(max_examples=60, deadline=None)
@given(
    inside=st.integers(0, 40),
    outside=st.integers(0, 40),
    most=st.integers(1, 15),
    seed=st.integers(0, 9),
    own_masks=st.booleans(),
)
def test_a_sample_has_both_kinds_or_all_of_one(
    inside: int, outside: int, most: int, seed: int, own_masks: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.arange(inside + outside) < inside)[torch.randperm(inside + outside, generator=generator)]
    sample = sample_tokens(mask, most, make_random_order(generator), own_masks=own_masks)
    cells = sample.cells.tolist()
    assert len(cells) == len(set(cells)) == min(inside + outside, 2 * most) == len(sample.inside)
    objects = int(mask[sample.cells].sum())
    assert objects == min(inside, max(most, 2 * most - outside))
    assert mask[sample.cells[:objects]].all()
    if own_masks:
        assert torch.equal(sample.inside, mask[sample.cells])


def test_masks_of_drawn_tokens_are_read_at_their_place_in_the_list() -> None:
    """Two object cells at the end of six: the drawn background takes the masks of the cells 0, 1, ..."""
    mask = torch.tensor([True, False, True, False, False, False])
    sample = sample_tokens(mask, 3, keep_order, own_masks=False)
    assert sample.cells.tolist() == [0, 2, 1, 3, 4, 5]
    assert sample.inside.tolist() == [True, True, *mask[:4].tolist()]
    many = sample_tokens(~mask, 2, keep_order, own_masks=False)  # both kinds are drawn
    assert many.cells.tolist() == [1, 3, 0, 2]
    assert many.inside.tolist() == [False, True, False, True]


def test_training_draws_another_number_of_tokens() -> None:
    assert [count_tokens(k, training=False) for k in (1, 5)] == [PER_SHOT, 5 * PER_SHOT]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for shots, low, high in ((1, 0.6, 4), (5, 0.6, 1.4)):
            factors = [count_tokens(shots, training=True) / (PER_SHOT * shots) for _ in range(200)]
            assert low - 0.01 <= min(factors) < low + 0.2
            assert high - 0.2 < max(factors) <= high


def test_the_dice_loss_is_that_of_two_maps() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 4, 5, generator=generator)
    target = torch.rand(2, 4, 5, generator=generator) > 0.5
    ignore = torch.zeros_like(target)
    ignore[:, 0] = True
    expected = 0.0
    for b in range(2):
        for channel, truth in enumerate((~target[b] & ~ignore[b], target[b] & ~ignore[b])):
            shared = size = 0.0
            for place in torch.cartesian_prod(torch.arange(4), torch.arange(5)).tolist():
                p, t = float(logits[b, channel][tuple(place)].sigmoid()), float(truth[tuple(place)])
                shared, size = shared + p * t, size + p * p + t * t
            expected += (1 - 2 * shared / size) / 2
    assert float(compute_dice_loss(logits, target, ignore)) == pytest.approx(expected, rel=1e-5)
    assert float(compute_dice_loss(logits, target & ~ignore, ignore)) == pytest.approx(expected, rel=1e-5)
    sure = torch.stack([~target, target], dim=1) * 200.0 - 100
    assert float(compute_dice_loss(sure, target)) == pytest.approx(0, abs=1e-6)
    assert float(compute_dice_loss(-sure, target)) == pytest.approx(2, abs=1e-6)
