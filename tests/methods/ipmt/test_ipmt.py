"""IPMT's figures, its intermediate masks and losses, and its attention under masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fssbench.methods.ipmt.method import IPMT
from fssbench.methods.ipmt.transformer import MaskedAttention, PrototypeTransformer
from fssbench.methods.layers.cyctr_base import RECIPE

FILE = "ipmt_resnet50_233"


def test_a_tenth_of_the_parameters_is_never_used() -> None:
    with torch.device("meta"):
        transformer = PrototypeTransformer(384)
    unused = [*transformer.ffns[10:].parameters(), *transformer.layer_norms[20:].parameters()]
    assert sum(p.numel() for p in unused) == 4_431_360


@torch.no_grad()
@pytest.mark.parametrize(("shots", "ending"), [(1, ""), pytest.param(5, "_5shot", marks=pytest.mark.slow)])
def test_masks_and_losses_equal_the_reference(golden: Callable[[str], Any], shots: int, ending: str) -> None:
    reference = golden(FILE)
    method, target = reference.method("ipmt", "resnet50"), reference.query_mask(233)
    assert method.provenance.learnable == int(reference.file["learnable"])
    query, support, mask = reference.episode(233, shots)
    features = method.read(query, support)
    assert reference.error(f"logits_{shots}shot", method.predict(*features, mask), 4) < 1e-4
    method.training = True  # of the method alone: no dropout
    losses = method.losses(*features, mask, target, torch.zeros_like(target))
    for name, loss in zip(("main", "aux"), losses, strict=True):
        assert float(loss) == pytest.approx(float(reference.file[f"loss_{name}{ending}"]), rel=1e-4)
    if shots > 1:
        return
    initial, mined = method._mine(method._merge(*features, mask), mask)
    assert torch.equal(initial.argmax(dim=1), torch.from_numpy(reference.file["initial_mask"]).long())
    assert reference.error("query_masks", mined.query_masks[0], 3) < 1e-4
    assert reference.error("support_masks", mined.support_masks[0, :, 0], 3) < 1e-4


@pytest.mark.slow
@torch.no_grad()
def test_it_equals_its_reference_at_its_own_size(golden: Callable[[str], Any]) -> None:
    """At this size rounding alone reaches the usual bound, so ours in double precision stands between both."""
    reference = golden(FILE)
    method, episode = reference.method("ipmt", "resnet50"), reference.episode(473, 1)
    single = method.predict(*episode)
    double = method.double().predict(*(each.double() for each in episode))
    assert (single - double).abs().max() < 1e-4 * double.abs().max()
    assert reference.error("logits_1shot_473", double.float(), 8) < 1.1e-4  # the reference rounds, too


@torch.no_grad()
def test_attention_reads_the_tokens_in_the_mask_or_all_if_the_mask_is_empty() -> None:
    torch.manual_seed(0)
    layer = MaskedAttention(4).eval()
    prototype, tokens = torch.randn(1, 1, 4), torch.randn(1, 6, 4)
    inside = torch.tensor([[True, False, True, True, False, False]])
    few = layer(prototype, tokens[:, inside[0]], torch.ones(1, 3, dtype=torch.bool))
    assert torch.allclose(layer(prototype, tokens, inside), few, atol=1e-6)
    nothing = layer(prototype, tokens, torch.zeros_like(inside))
    assert torch.allclose(nothing, layer(prototype, tokens, torch.ones_like(inside)), atol=1e-4)
    scores = layer.q_fc(prototype[0]) @ layer.k_fc(tokens[0, inside[0]]).T / 2
    expected = layer.proj(scores.softmax(dim=1) @ layer.v_fc(tokens[0, inside[0]]))
    assert torch.allclose(few[0], expected, atol=1e-6)


def test_the_loss_reaches_every_parameter_that_is_used(tiny: Any, episodes: Any) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        method = IPMT(IPMT.Config(reduce_dim=16), tiny()).train()
        query, support, mask = episodes(batch=2, shots=2)
        target = mask[:, 0] == 1
        method.loss(query, support, mask, target, torch.zeros_like(target)).backward()
    learnable = {name: p for name, p in method.named_parameters() if p.requires_grad}
    places = {
        tuple(n.split(".")[1:3]) if "transformer" in n else n for n, p in learnable.items() if p.grad is None
    }
    assert places == {("ffns", str(i)) for i in range(10, 15)} | {
        ("layer_norms", str(i)) for i in range(20, 30)
    }
    assert all(p.grad.isfinite().all() for p in learnable.values() if p.grad is not None)


def test_the_recipe_is_that_of_cyctr() -> None:
    assert IPMT.recipe is RECIPE
    assert (RECIPE.batch, RECIPE.epochs, RECIPE.schedule) == (4, 200, "poly")
