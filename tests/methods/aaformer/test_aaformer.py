"""AAFormer's figures, seeds, agents, transport, the test that joins cells and tokens, and its losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fssbench.methods.aaformer import agents as module
from fssbench.methods.aaformer.agents import AGENTS, AgentAttention, agree, make_agents, place_start_seeds
from fssbench.methods.aaformer.method import AAFormer
from fssbench.methods.aaformer.transformer import AgentTransformer
from fssbench.methods.aaformer.transport import solve_transport, transport_tokens

FILE = "aaformer_resnet50_233"


def test_parameter_counts_by_part() -> None:
    with torch.device("meta"):
        transformer = AgentTransformer(384, align=True, own_masks=False)
    counts = {n: sum(p.numel() for p in part.parameters()) for n, part in transformer.named_children()}
    assert counts == {
        "cross_layers": 2_853_120,
        "qry_self_layers": 610_614,
        "supp_self_layers": 4_336_384,
        "ffns": 5_308_416,
        "layer_norms": 9_216,
    }
    assert sum(p.numel() for p in transformer.parameters()) == 13_118_518


def test_seeds_equal_the_reference(golden: Callable[[str], Any]) -> None:
    reference = golden(FILE)
    masks = reference.episode(233, 5)[2][0].numpy() == 1
    assert np.array_equal([place_start_seeds(mask, (30, 30)) for mask in masks], reference.file["seeds"][0])


@torch.no_grad()
def test_agents_transport_and_losses_equal_the_reference(
    golden: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = golden(FILE)
    method, target = reference.method("aaformer", "resnet50"), reference.query_mask(233)
    query, support, mask = reference.episode(233, 1)
    features = method.read(query, support)
    plans, learnt = [], []

    def keep(likeness: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        plans.append(transport_tokens(likeness, inside))
        return plans[-1]

    monkeypatch.setattr(module, "transport_tokens", keep)
    method.transformer.cross_layers[0].transformer_cross.register_forward_hook(
        lambda _module, _inputs, output: learnt.append(output)
    )
    method.training = True  # of the method alone: no dropout, no random tokens
    losses = method.losses(*features, mask, target, torch.zeros_like(target))
    for name, loss in zip(("main", "aux"), losses, strict=True):
        assert float(loss) == pytest.approx(float(reference.file[f"loss_{name}"]), rel=1e-4)
    method.eval()
    assert reference.error("logits_1shot", method.predict(*features, mask), 4) < 1e-4
    for layer in method.transformer.cross_layers:
        layer.align = False
    assert reference.error("logits_1shot_noalign", method.predict(*features, mask), 8) < 1e-4
    plan, agents = (torch.from_numpy(reference.file[name]) for name in ("transport", "agents"))
    assert torch.allclose(plans[-2][0, ::4], plan, atol=1e-4 * float(plan.max()))
    assert torch.allclose(learnt[-1][0, :, ::8], agents, atol=1e-4 * float(agents.abs().max()))


@torch.no_grad()
def test_the_plan_has_its_masses_and_the_form_of_an_entropic_one() -> None:
    """Rows and columns sum to their masses, and the plan is the kernel, scaled by a factor per row and per column."""
    torch.manual_seed(0)
    likeness = torch.rand(2, 40, AGENTS, dtype=torch.float64) * 0.3
    cost = 1 - likeness
    rows = torch.full((2, 40), 1 / 40, dtype=torch.float64)
    columns = torch.rand(2, AGENTS, dtype=torch.float64)
    columns /= columns.sum(dim=1, keepdim=True)
    plan = solve_transport(cost, rows, columns)
    assert torch.allclose(plan.sum(dim=1), columns)
    assert torch.allclose(plan.sum(dim=2), rows, rtol=0.2)
    factors = plan * (cost / 0.05).exp()
    ranks = torch.linalg.svdvals(factors)
    assert float((ranks[:, 1] / ranks[:, 0]).max()) < 1e-9
    apart = torch.cat([solve_transport(cost[b : b + 1], rows[:1], columns[b : b + 1]) for b in range(2)])
    assert torch.equal(plan, apart)


@torch.no_grad()
def test_object_tokens_go_to_all_agents_evenly_and_background_to_none() -> None:
    torch.manual_seed(0)
    likeness = torch.rand(1, 50, AGENTS) * 0.2
    inside = torch.arange(50)[None] < 20
    given = transport_tokens(likeness, inside)
    assert torch.allclose(given.sum(dim=1), torch.full((1, AGENTS), 20 / AGENTS), rtol=1e-4)
    assert float(given[0, 20:].max()) < 1e-6
    for all_or_none in (torch.ones_like(inside), torch.zeros_like(inside)):
        assert transport_tokens(likeness, all_or_none).isfinite().all()


def test_agents_agree_with_themselves_and_by_accident_with_two_others() -> None:
    numbers = torch.arange(AGENTS)
    pairs = agree(numbers[:, None], numbers[None])
    assert pairs.diagonal().all()
    assert torch.triu(pairs, 1).nonzero().tolist() == [[0, 12], [3, 11]]


def test_training_attends_to_a_tenth_of_the_tokens_of_other_agents() -> None:
    torch.manual_seed(0)
    layer = AgentAttention(8, align=True)
    of_query, of_support = torch.rand(2, 50, AGENTS), torch.rand(2, 60, AGENTS)
    other = ~agree(of_query.argmax(2)[:, :, None], of_support.argmax(2)[:, None])
    excluded = layer._exclude(of_query, of_support) < 0
    assert not (excluded & ~other).any()
    assert float(excluded[other].float().mean()) == pytest.approx(0.9, abs=0.03)
    assert torch.equal(layer.eval()._exclude(of_query, of_support) < 0, other)


@torch.no_grad()
@pytest.mark.parametrize(("side", "agents"), [(0, 0), (3, 1), (40, AGENTS)])
def test_small_objects_have_one_agent_and_none_has_none(side: int, agents: int) -> None:
    """An object between the pixels that seeds are looked for at has its average as its only agent."""
    features, mask = torch.rand(1, 6, 16, 16) + 1, torch.zeros(1, 121, 121)
    mask[:, 47 : 47 + side, 47 : 47 + side] = 1
    made = make_agents(features, mask, 5)
    assert made.shape == (1, AGENTS, 6)
    assert int((made != 0).any(dim=2).sum()) == agents


def test_the_loss_reaches_every_parameter_that_is_used(tiny: Any, episodes: Any) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        method = AAFormer(AAFormer.Config(reduce_dim=16), tiny()).train()
        query, support, mask = episodes(batch=2, shots=2)
        target = mask[:, 0] == 1
        method.loss(query, support, mask, target, torch.zeros_like(target)).backward()
    learnable = {name: p for name, p in method.named_parameters() if p.requires_grad}
    idle = {name for name, p in learnable.items() if p.grad is None}
    assert idle == {"addtional_proj.0.weight", "addtional_proj.2.weight", "transformer.supp_level_embed"}
    assert all(p.grad.isfinite().all() for p in learnable.values() if p.grad is not None)


def test_the_rate_rises_in_the_first_epoch_to_fifteen_times_what_the_files_say() -> None:
    recipe = AAFormer.recipe
    assert recipe is not None
    assert (recipe.batch, recipe.epochs, recipe.stated_rate) == (6, 200, 2.5e-3)
    assert recipe.rate(0, 2000) == pytest.approx(0.0375e-3)
    assert recipe.rate(10, 2000) == pytest.approx(0.0375 * (1 - 1 / 200) ** 0.9)
