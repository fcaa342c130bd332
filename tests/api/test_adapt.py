"""Tests of test-time adaptation: it sees one episode, draws from one generator, and leaves the method unchanged."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from fssbench.api import ImageMethod, Method, MethodCard, MethodConfig, Predictor
from fssbench.testing import check_method


class Settings(MethodConfig):
    steps: int = 3


class Tuned(ImageMethod):
    """Fits a linear layer to the colours of the support's object and background, from a random start."""

    card: ClassVar[MethodCard] = MethodCard(
        name="tuned",
        title="Tuned",
        paper="none",
        year=2026,
        kind="adaptation",
        backbone="none",
        size=64,
        trained=False,
        reference="this file",
        licence="Apache-2.0",
        training="none",
    )
    Config: ClassVar[type[MethodConfig]] = Settings
    config: Settings

    def __init__(self, config: MethodConfig, backbone: Any = None) -> None:
        super().__init__(config, backbone)
        self.layer = nn.Conv2d(3, 2, 1)
        self.adapted: list[tuple[int, int, int]] = []

    @property
    def steps(self) -> int:
        return self.config.steps

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        return self.layer(query)

    def adapt(
        self, query: Tensor, support: Tensor, support_mask: Tensor, *, generator: torch.Generator, steps: int
    ) -> Predictor:
        self.adapted.append((len(query), support.shape[1], steps))
        weight = torch.randn(2, 3, 1, 1, generator=generator).requires_grad_()
        pixels, labels = support.flatten(0, 1), support_mask.flatten(0, 1).long()
        with torch.enable_grad():
            for _ in range(steps):
                loss = nn.functional.cross_entropy(nn.functional.conv2d(pixels, weight), labels)
                (gradient,) = torch.autograd.grad(loss, weight)
                weight = (weight - 0.1 * gradient).detach().requires_grad_()
        fitted = weight.detach()
        return lambda query, support, support_mask: nn.functional.conv2d(query, fitted)


class Voting(Tuned):
    shots = "vote"


def episodes(batch: int = 3, shots: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    support = torch.randn(batch, shots, 3, 16, 16, generator=generator)
    query = torch.randn(batch, 3, 16, 16, generator=generator)
    return query, support, (support[:, :, 0] > 0.2).float()


@pytest.fixture(params=[Tuned, Voting])
def method(request: pytest.FixtureRequest) -> Tuned:
    torch.manual_seed(0)
    return request.param(Settings()).eval()


@torch.no_grad()
def test_one_episode_at_a_time_with_all_its_supports_and_the_budget(method: Tuned) -> None:
    logits = method.predict(*episodes())
    assert logits.shape == (3, 2, 16, 16)
    assert method.adapted == [(1, 2, 3)] * 3


@torch.no_grad()
def test_no_budget_no_adaptation() -> None:
    torch.manual_seed(0)
    method = Tuned(Settings(steps=0)).eval()
    query, support, mask = episodes()
    assert torch.equal(method.predict(query, support, mask), method.layer(query))
    assert method.adapted == []


@torch.no_grad()
def test_a_method_that_defines_no_adaptation_predicts_by_logits() -> None:
    class Plain(Tuned):
        adapt = Method.adapt

    query, support, mask = episodes()
    method = Plain(Settings())
    assert torch.equal(method.predict(query, support, mask), method.layer(query))


@torch.no_grad()
def test_episodes_in_two_orders_give_the_same(method: Tuned) -> None:
    query, support, mask = episodes(batch=4)
    state = {k: v.clone() for k, v in method.state_dict().items()}

    def run(order: list[int]) -> dict[int, Tensor]:
        return {i: method.predict(query[[i]], support[[i]], mask[[i]], seed=i) for i in order}

    forth, back = run([0, 1, 2, 3]), run([3, 1, 2, 0])
    assert all(torch.equal(forth[i], back[i]) for i in forth)
    assert all(torch.equal(v, state[k]) for k, v in method.state_dict().items())


@torch.no_grad()
def test_the_seed_alone_decides_what_is_drawn(method: Tuned) -> None:
    inputs = episodes()
    first = method.predict(*inputs, seed=1)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert torch.equal(method.predict(*inputs, seed=1), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(method.predict(*inputs, seed=2), first)
    assert torch.equal(method.segment(*inputs, seed=1), method.segment(*inputs, seed=1))


def test_it_learns_from_the_supports() -> None:
    """More steps fit the supports better: adaptation does something."""
    query, support, mask = episodes(batch=1, shots=1)
    query = support[:, 0]
    losses = []
    for steps in (1, 100):
        with torch.no_grad():
            logits = Tuned(Settings(steps=steps)).predict(query, support, mask)
        losses.append(float(nn.functional.cross_entropy(logits, mask[:, 0].long())))
    assert losses[1] < 0.8 * losses[0]


def test_the_contract_is_kept_and_an_adapt_that_asks_for_more_is_refused() -> None:
    assert [r for r in check_method(Tuned) if r.status == "fail"] == []

    class Curious(Tuned):
        def adapt(self, query, support, support_mask, query_mask, *, generator, steps):  # type: ignore[no-untyped-def]
            return self.logits

    failed = {r.check: r for r in check_method(Curious) if r.status == "fail"}
    assert "query_mask" in str(failed["sees_no_answer"])
