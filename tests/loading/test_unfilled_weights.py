"""Large tensors of a network whose names and shapes alone are read are not filled."""

from __future__ import annotations

import torch
from torch import nn

from fssbench.loading.unfilled_weights import UnfilledWeights


def count_draws(inputs: int) -> int:
    """Count how far building a layer moves torch's generator, from 0."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with torch.random.fork_rng(devices=[]):
        nn.Linear(inputs, 300, bias=False)
        after = torch.get_rng_state()
    return int((before != after).sum())


def test_large_tensors_are_not_filled_and_small_ones_are() -> None:
    assert count_draws(300)
    with torch.random.fork_rng(devices=[]), UnfilledWeights():
        assert not count_draws(300)
        assert count_draws(3)
        large = torch.ones(300, 300)
        assert nn.init.trunc_normal_(large).shape == (300, 300)
        assert torch.equal(large.zero_(), torch.ones(300, 300))
        assert not torch.ones(3, 3).zero_().any()
    assert not torch.ones(300, 300).zero_().any()
