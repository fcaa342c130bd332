"""Windows on grids of any number of axes, against loops and against torchvision's own Swin block."""

from __future__ import annotations

import itertools

import pytest
import torch
from fssbench.methods.vat.swin import (
    Swin,
    SwinBlock,
    join_windows,
    label_regions,
    make_relative_index,
    part_regions,
    to_windows,
)
from hypothesis import given, settings, strategies as st
from torchvision.models.swin_transformer import SwinTransformerBlock


@settings(max_examples=20, deadline=None)
@given(counts=st.lists(st.integers(1, 3), min_size=1, max_size=4), side=st.integers(1, 3))
def test_windows_hold_neighbours_and_go_back(counts: list[int], side: int) -> None:
    dims = tuple(n * side for n in counts)
    grid = torch.arange(2 * torch.Size(dims).numel() * 3).view(2, *dims, 3)
    windows = to_windows(grid, side)
    assert windows.shape == (2, torch.Size(counts).numel(), side ** len(dims), 3)
    assert torch.equal(join_windows(windows, dims, side), grid)
    last = grid[(slice(None), *[slice(-side, None)] * len(dims))].flatten(1, -2)
    assert torch.equal(windows[:, -1], last)


@pytest.mark.parametrize(("side", "axes"), [(3, 2), (2, 4)])
def test_relative_index_by_loops(side: int, axes: int) -> None:
    cells = list(itertools.product(range(side), repeat=axes))
    result = make_relative_index(side, axes)
    for i, a in enumerate(cells):
        for j, b in enumerate(cells):
            row = 0
            for x, y in zip(a, b, strict=True):
                row = row * (2 * side - 1) + x - y + side - 1
            assert result[i, j] == row


def test_the_shift_mask_parts_what_was_not_together() -> None:
    """A line of six, windows of three, shifted by one: the last window holds 4, 5 and, from afar, 0."""
    mask = part_regions(label_regions((6,), 3, 1, torch.zeros(1)), torch.zeros(1))
    assert not mask[0].any()
    apart = torch.tensor([[0, 0, 1], [0, 0, 1], [1, 1, 0]]).bool()
    assert torch.equal(mask[1] < 0, apart)


@torch.no_grad()
@pytest.mark.parametrize("shift", [0, 2])
def test_two_axes_equal_torchvisions_block(shift: int) -> None:
    torch.manual_seed(0)
    ours = SwinBlock(8, 2, 4, 2, shift=shift).double().eval()
    theirs = SwinTransformerBlock(8, 2, [4, 4], [shift, shift]).double().eval()
    state = {
        key.replace("attn.bias_table", "attn.relative_position_bias_table").replace("mlp.2.", "mlp.3."): value
        for key, value in ours.state_dict().items()
    }
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert (set(missing), unexpected) == ({"attn.relative_position_index"}, [])
    grid = torch.randn(2, 8, 12, 8, dtype=torch.float64)
    assert torch.allclose(ours(grid), theirs(grid), atol=1e-10)


@torch.no_grad()
def test_four_axes_without_shift_stay_within_their_window() -> None:
    torch.manual_seed(0)
    block = SwinBlock(8, 2, 2, 4, shift=0).eval()
    grid = torch.randn(1, 4, 4, 4, 4, 8)
    changed = grid.clone()
    changed[:, 0, 0, 0, 0] += 1
    moved = (block(changed) != block(grid)).any(dim=-1)[0]
    assert moved[:2, :2, :2, :2].any()
    moved[:2, :2, :2, :2] = False
    assert not moved.any()


@torch.no_grad()
def test_the_last_norm_is_applied_where_asked_for() -> None:
    torch.manual_seed(0)
    plain = Swin(8, 2, 2, 2, 2, last_norm=False).eval()
    normed = Swin(8, 2, 2, 2, 2).eval()
    normed.load_state_dict(plain.state_dict())
    maps = torch.randn(1, 8, 4, 4)
    expected = plain.norm(plain(maps).movedim(1, -1)).movedim(-1, 1)
    assert torch.allclose(normed(maps), expected, atol=1e-6)
    assert [b.shift for b in plain.blocks] == [0, 1]
