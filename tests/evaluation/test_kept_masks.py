"""Masks that are kept for a second answer: those of the chosen episodes, to the pixel."""

from __future__ import annotations

import numpy as np
import pytest

from fssbench.evaluation.kept_masks import KeptMasks


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8), (7, 400)])
def test_a_kept_mask_is_the_one_that_was_predicted(shape: tuple[int, int]) -> None:
    masks = KeptMasks([4, 9])
    predicted = np.random.default_rng(0).random(shape) < 0.5
    for index in (3, 4):
        masks.keep(index, predicted)
    kept = masks.get(4)
    assert kept is not None
    assert kept.dtype == np.bool_
    assert np.array_equal(kept, predicted)
    assert masks.get(3) is None, "nobody asks for it again"
    assert masks.get(9) is None, "it was not predicted"


def test_a_kept_mask_does_not_follow_its_reader() -> None:
    masks = KeptMasks([0])
    predicted = np.ones((4, 4), np.bool_)
    masks.keep(0, predicted)
    predicted[:] = False
    first = masks.get(0)
    assert first is not None
    first[:] = False
    again = masks.get(0)
    assert again is not None
    assert again.all()


def test_masks_without_room_are_not_kept() -> None:
    masks = KeptMasks(range(9), room=20)
    for index, side in enumerate((10, 8, 9, 3, 1)):  # 13, 8, 11, 2 and 1 bytes
        masks.keep(index, np.ones((side, side), np.bool_))
    assert [index for index in range(9) if masks.get(index) is not None] == [0, 3, 4]
