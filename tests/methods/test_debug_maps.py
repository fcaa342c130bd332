"""The maps that built-in methods offer for an inspection show what they compute in the prediction itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fssbench.methods.abcnet import ABCNet
from fssbench.methods.dcama import DCAMA
from fssbench.methods.hsnet import HSNet
from fssbench.methods.layers.module_inputs import record_inputs
from fssbench.methods.panet import PANet
from fssbench.methods.patnet import PATNet
from fssbench.methods.pfenet import PFENet
from fssbench.methods.pmnet import PMNet
from torch import nn

from fssbench.api import FeatureMethod
from fssbench.contracts.debug_maps import collect_debug_maps

CASES: dict[str, tuple[type[FeatureMethod], dict[str, Any], int]] = {
    "pmnet": (PMNet, {}, 2),
    "hsnet": (HSNet, {}, 6),
    "patnet": (PATNet, {}, 6),
    "dcama": (DCAMA, {"heads": 4}, 3),
    "abcnet": (ABCNet, {"heads": 4, "buoys": 3}, 3),
    "panet": (PANet, {}, 2),
    "pfenet": (PFENet, {"ppm_scales": (6, 3)}, 1),
}
"""Method, settings, and number of named maps with two supports."""


@pytest.fixture
def method(request: pytest.FixtureRequest, tiny: Callable[..., Any]) -> FeatureMethod:
    cls, config, _ = CASES[request.param]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return cls(cls.Config(**config), tiny()).eval()


@torch.no_grad()
@pytest.mark.parametrize("method", CASES, indirect=True)
def test_maps_have_names_and_vary_and_leave_the_method_as_it_was(
    method: FeatureMethod, episodes: Any
) -> None:
    query, support, mask = episodes(shots=2, size=160)
    before = method.predict(query, support, mask)
    maps = collect_debug_maps(method, *method.read(query, support), mask)
    assert len(maps) == CASES[method.card.name][2]
    for each in maps.values():
        assert each.isfinite().all()
        assert each.std() > 0
    assert torch.equal(method.predict(query, support, mask), before)
    assert not any(module._forward_pre_hooks for module in method.modules())


@torch.no_grad()
@pytest.mark.parametrize("method", ["panet"], indirect=True)
def test_cosines_of_panet_decide_its_mask(method: FeatureMethod, episodes: Any) -> None:
    query, support, mask = episodes(size=160)
    inputs = method.read(query, support)
    background, of_object = collect_debug_maps(method, *inputs, mask).values()
    logits = method.logits(*inputs, mask)
    assert torch.equal(of_object > background, logits[:, 1] > logits[:, 0])


@torch.no_grad()
@pytest.mark.parametrize("method", ["pmnet", "dcama", "pfenet"], indirect=True)
def test_shares_and_priors_lie_between_zero_and_one(method: FeatureMethod, episodes: Any) -> None:
    query, support, mask = episodes(shots=2, size=160)
    for each in collect_debug_maps(method, *method.read(query, support), mask).values():
        assert 0 <= each.min() <= each.max() <= 1 + 1e-6


@torch.no_grad()
@pytest.mark.parametrize("method", ["patnet"], indirect=True)
def test_a_derived_method_shows_its_own_correlations(
    method: FeatureMethod, episodes: Any, tiny: Callable[..., Any]
) -> None:
    query, support, mask = episodes(size=160)
    inputs = method.read(query, support)
    host = HSNet(HSNet.Config(), tiny()).eval()
    host.load_state_dict(method.state_dict(), strict=False)
    ours, theirs = (collect_debug_maps(each, *inputs, mask) for each in (method, host))
    assert ours.keys() == theirs.keys()
    assert all(not torch.allclose(ours[name], theirs[name]) for name in ours)


def test_hooks_are_removed_if_the_prediction_fails() -> None:
    layer = nn.Identity()

    def fail() -> None:
        layer(torch.ones(1))
        raise ValueError

    with pytest.raises(ValueError):
        record_inputs({"layer": layer}, fail)
    assert not layer._forward_pre_hooks
