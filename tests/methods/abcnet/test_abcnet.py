"""ABCNet against its host, and its buoys by their definition; there is no reference to compare with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fssbench.methods.abcnet import ABCNet
from fssbench.methods.abcnet.buoys import Buoys
from fssbench.methods.dcama import DCAMA
from torch import Tensor
from torch.nn import functional
from undrawn_weights import load_undrawn


def with_gain(method: ABCNet, gain: float) -> ABCNet:
    with torch.no_grad():
        for attention in method.attention:
            attention.buoys.gain.fill_(gain)
    return method


@pytest.fixture
def method(tiny: Callable[..., Any]) -> ABCNet:
    torch.manual_seed(0)
    return ABCNet(ABCNet.Config(heads=4, buoys=5), tiny()).eval()


def tokens(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_parameter_count() -> None:
    method = load_undrawn("abcnet", backbone="resnet50", weights="random")
    added = sum(
        32 * d + 8 * d * d + 4 * d + 3 * d + 4 * d + 2 * d * (d // 4) + d // 4 + d // 4 + 1 + 1
        for d in (64, 128, 256)
    )
    assert method.provenance.learnable == 14_215_394 + added == ABCNet.card.learnable


@torch.no_grad()
def test_without_gain_it_is_its_host_to_the_bit(method: ABCNet, episodes: Any) -> None:
    host = DCAMA(DCAMA.Config(heads=4), method.backbone).eval()
    own = method.state_dict()
    host.load_state_dict({name: own[name] for name in host.state_dict()})
    inputs = episodes(batch=2, shots=2)
    assert torch.equal(method.predict(*inputs), host.predict(*inputs))
    assert not torch.allclose(with_gain(method, 1.0).predict(*inputs), host.predict(*inputs))


@torch.no_grad()
def test_the_order_of_buoys_changes_nothing(method: ABCNet, episodes: Any) -> None:
    inputs = episodes(shots=2)
    before = with_gain(method, 1.0).predict(*inputs)
    for attention in method.attention:
        attention.buoys.vectors.copy_(attention.buoys.vectors[torch.tensor([3, 0, 4, 2, 1])])
    assert torch.allclose(method.predict(*inputs), before, atol=1e-5)


@torch.no_grad()
def test_one_buoy_corrects_nothing() -> None:
    correlation = Buoys(1, 8).eval().correlate(tokens(1, 6, 8), tokens(1, 9, 8), torch.rand(1, 9))
    assert torch.allclose(correlation, torch.zeros(1, 6, 9), atol=1e-6)


@torch.no_grad()
def test_the_correlation_by_its_definition() -> None:
    torch.manual_seed(2)
    layer = Buoys(4, 8).double().eval()
    query, support = tokens(1, 3, 8).double(), tokens(1, 5, 8).double() + 0.3
    values = torch.tensor([[1.0, 0.5, 0, 0, 0]]).double()
    buoys = layer.specialise(torch.cat([query, support], dim=1))[0]
    target = (support[0, 0] + 0.5 * support[0, 1]) / 1.5
    scores = torch.stack([layer.weigh(torch.cat([buoy, target])) for buoy in buoys])[:, 0]
    weights = 4 * scores.softmax(0)

    def profile(token: Tensor) -> Tensor:
        cosines = [functional.cosine_similarity(token, buoy, dim=0) for buoy in buoys]
        shares: Tensor = (torch.stack(cosines) / 0.1).softmax(0)
        assert shares.sum() == pytest.approx(1)
        return shares

    expected = torch.stack(
        [torch.stack([(weights * profile(q) * profile(s)).sum() for s in support[0]]) for q in query[0]]
    )
    expected = (expected + 1e-6).log()
    expected = (expected - expected.mean()) / (expected.std(correction=0) + 1e-3)
    assert torch.allclose(layer.correlate(query, support, values)[0], expected)


@torch.no_grad()
def test_training_drops_buoys_and_adds_noise_and_evaluation_does_not() -> None:
    layer = Buoys(16, 8)
    given = tokens(1, 6, 8), tokens(1, 9, 8), torch.rand(1, 9)
    trained = {float(layer.correlate(*given).sum(dtype=torch.float64)) for _ in range(4)}
    layer.eval()
    assert len(trained) == 4
    assert torch.equal(layer.correlate(*given), layer.correlate(*given))


def test_the_penalty_is_of_buoys_that_are_not_orthogonal(method: ABCNet, episodes: Any) -> None:
    layer = Buoys(4, 8)
    assert float(layer.penalty().detach()) == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        layer.vectors.copy_(layer.vectors[:1].expand(4, -1))
    assert float(layer.penalty().detach()) == pytest.approx(12 / 16)
    query, support, mask = episodes()
    target, ignore = mask[:, 0].bool(), torch.zeros_like(mask[:, 0]).bool()
    with torch.no_grad():
        method.attention[0].buoys.vectors.copy_(method.attention[0].buoys.vectors[:1].expand(5, -1))
    full = method.loss(query, support, mask, target, ignore)
    method.config = ABCNet.Config(heads=4, buoys=5, penalty=0)
    assert float((full - method.loss(query, support, mask, target, ignore)).detach()) == pytest.approx(
        0.1 * sum(float(each.buoys.penalty().detach()) for each in method.attention), rel=1e-4
    )
