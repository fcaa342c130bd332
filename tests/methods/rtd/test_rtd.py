"""RTD against its host, and its memory by definition; there is no reference to compare with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fssbench.methods.rtd import RTD
from fssbench.methods.rtd.method import contrast_views
from fssbench.methods.rtd.style import Enhancement, StyleMemory, change_style, measure_style
from torch import Tensor
from undrawn_weights import load_undrawn


@pytest.fixture
def method(tiny: Callable[..., Any]) -> RTD:
    torch.manual_seed(0)
    return RTD(RTD.Config(slots=6), tiny()).eval()


def styles(count: int, channels: int = 4) -> Tensor:
    return torch.randn(count, 2 * channels, generator=torch.Generator().manual_seed(count))


def filled() -> StyleMemory:
    torch.manual_seed(3)
    memory = StyleMemory(4, 5, 8)
    for _ in range(4):
        memory.store(torch.randn(3, 8))
    return memory


def test_parameter_count() -> None:
    method = load_undrawn("rtd", backbone="resnet50", weights="random")
    assert method.provenance.learnable == RTD.card.learnable
    style = sum(p.numel() for module in (method.memory, method.enhance) for p in module.parameters())
    assert style == 64 * 128 + 512 * 128 + 128 + 1024 * 128 + 128 + 128 * 512 + 512


@torch.no_grad()
def test_untrained_it_is_its_host_to_the_bit(method: RTD, episodes: Any) -> None:
    inputs = episodes(batch=2, shots=2)
    first = method.predict(*inputs)
    method.memory.store(torch.randn(3, 16))
    assert torch.equal(method.predict(*inputs), first)
    method.config = RTD.Config(slots=6, transfer=False)
    assert torch.equal(method.predict(*inputs), first)
    torch.nn.init.normal_(method.enhance.show.weight)
    assert torch.equal(method.predict(*inputs), first)
    method.config = RTD.Config(slots=6)
    assert not torch.allclose(method.predict(*inputs), first)


@torch.no_grad()
def test_prediction_leaves_the_memory_as_it_is_and_training_does_not(method: RTD, episodes: Any) -> None:
    query, support, mask = episodes(batch=2)
    buffers = {name: value.clone() for name, value in method.memory.named_buffers()}
    method.predict(query, support, mask)
    assert all(torch.equal(value, buffers[name]) for name, value in method.memory.named_buffers())
    method.train()
    method.loss(query, support, mask, mask[:, 0].bool(), torch.zeros_like(mask[:, 0]).bool())
    assert not any(torch.equal(value, buffers[name]) for name, value in method.memory.named_buffers())


def test_style_by_definition() -> None:
    maps = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    style = measure_style(maps)
    for b in range(2):
        for c in range(3):
            cells = maps[b, c].flatten()
            assert style[b, c] == pytest.approx(float(cells.mean()))
            spread = ((cells - cells.mean()).square().mean() + 1e-5).sqrt()
            assert style[b, 3 + c] == pytest.approx(float(spread.log()))


def test_a_change_of_style_is_undone_by_its_opposite() -> None:
    maps, change = torch.rand(2, 3, 4, 5, dtype=torch.float64) + 1, 0.3 * styles(2, 3).double()
    style = measure_style(maps)
    changed = change_style(maps, style, change)
    assert torch.allclose(measure_style(changed), style + change, atol=1e-4)
    assert torch.allclose(change_style(changed, style + change, -change), maps, atol=1e-12)
    assert torch.equal(change_style(maps, style, torch.zeros_like(change)), maps)


@torch.no_grad()
def test_equal_slots_are_loaded_as_they_are() -> None:
    memory, value = filled(), styles(1)
    memory.differences.copy_(value.expand(5, -1))
    assert torch.allclose(memory.load(styles(7)), value.expand(7, -1), atol=1e-5)
    assert torch.allclose(memory.address(styles(7)).sum(dim=1), torch.ones(7))


@torch.no_grad()
def test_a_slot_only_moves_towards_what_is_stored() -> None:
    memory, style = filled(), styles(1)
    before = memory.differences.clone()
    memory.store(style)
    target = memory.subtract_domain(style)
    moved = memory.differences - before
    share = 0.05 * memory.address(style)[0]
    assert torch.allclose(moved, share[:, None] * (target - before), atol=1e-6)


@torch.no_grad()
def test_the_domain_is_a_mean_of_what_was_stored() -> None:
    memory = StyleMemory(4, 5, 8)
    assert not memory.subtract_domain(styles(2)).any()
    for _ in range(3):
        memory.store(styles(1).expand(2, -1))
    assert torch.allclose(memory.domain, styles(1)[0], atol=1e-6)


@torch.no_grad()
def test_a_view_has_the_domain_and_a_share_of_another_slot() -> None:
    memory = filled()
    style = styles(6)
    nearest = memory.address(style).argmax(dim=1)
    for fixed in (True, False):
        seen = style + memory.draw_change(style, fixed=fixed) - memory.domain
        for row, own in zip(seen, nearest, strict=True):
            slots = memory.differences
            shares = (slots @ row) / slots.square().sum(dim=1)
            exact = ((slots * shares[:, None] - row).abs().amax(dim=1) < 1e-5).nonzero()[:, 0]
            assert len(exact) == 1
            assert int(exact[0]) != int(own)
            assert 0 <= float(shares[exact[0]]) <= 1
            assert not fixed or float(shares[exact[0]]) == pytest.approx(0.5, abs=1e-4)


def test_the_correction_starts_at_zero() -> None:
    assert not Enhancement(4, 3)(styles(2), styles(2)).any()


def test_the_contrast_by_definition() -> None:
    first, second, near, far = (torch.randn(2, 5, dtype=torch.float64) for _ in range(4))
    result = contrast_views([first, second], [near, far])
    for b in range(2):

        def likeness(other: Tensor, b: int = b) -> Tensor:
            product = (first[b] * other[b]).sum() / (first[b].norm() * other[b].norm())
            return (product / 0.1).exp()

        expected = -(likeness(second) / (likeness(second) + likeness(near) + likeness(far))).log()
        assert result[b] == pytest.approx(float(expected))


def test_the_correction_learns_to_undo_a_view(method: RTD, episodes: Any) -> None:
    """With the host left alone, the mean squared error of the correction falls."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(6):
            method.memory.store(measure_style(torch.randn(4, 8, 6, 6) * 3 + 2))
        style = measure_style(torch.randn(16, 8, 6, 6))
        change = method.memory.draw_change(style, fixed=False)
        learned = [*method.enhance.parameters(), *method.memory.parameters()]
        optimizer = torch.optim.Adam(learned, lr=1e-2)
        errors = []
        for _ in range(40):
            optimizer.zero_grad()
            error = method._miss(style + change, -change)
            error.backward()
            optimizer.step()
            errors.append(float(error.detach()))
    assert errors[-1] < 0.5 * errors[0]
