"""IFA against its reference, at test and in training mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fssbench.methods.ifa import IFA
from fssbench.methods.ifa.rearranged import Change, apply_change, draw_change
from fssbench.methods.ssp import SSP
from places import load_golden_recipe
from torch.nn import functional
from undrawn_weights import load_undrawn


@torch.no_grad()
@pytest.mark.parametrize("shots", [1, 5])
def test_equals_the_reference(shared: Path, shots: int) -> None:
    golden = np.load(shared / "golden" / "ifa_resnet50_256.npz")
    recipe = load_golden_recipe(shared)
    size, tag, salt, stride = (golden[k].item() for k in ("size", "tag", "salt", "stride"))
    shapes = {
        str(n): tuple(int(x) for x in str(s).split(",") if x)
        for n, s in zip(golden["names"], golden["shapes"], strict=True)
    }
    state = {n: recipe.values(n, s, salt) for n, s in shapes.items()}
    query = recipe.image(f"{tag}/query", size)[None]
    support = torch.stack([recipe.image(f"{tag}/support{k}", size) for k in range(shots)])[None]
    mask = torch.stack([recipe.mask(f"{tag}/support{k}", size) for k in range(shots)])[None]
    method = load_undrawn("ifa", backbone="resnet50", weights="random")
    assert isinstance(method, IFA)
    method.load_reference(state)
    assert method.provenance.learnable == golden["learnable"]

    def same(result: torch.Tensor, key: str, step: int) -> None:
        grown = functional.interpolate(result, (size, size), mode="bilinear", align_corners=True)
        assert (
            np.abs(grown[..., ::step, ::step].numpy() - golden[key]).max() <= 1e-4 * np.abs(golden[key]).max()
        )

    same(method.predict(query, support, mask), f"logits_{shots}shot_refine", stride)
    outputs = method.training_outputs(query, support, mask, recipe.mask(f"{tag}/query", size)[None])
    same(outputs[1], f"logits_{shots}shot_plain", stride)
    assert len(outputs) == 9
    for place, logits in enumerate(outputs):
        same(logits, f"train_{shots}shot_out{place}", 16)


@torch.no_grad()
@pytest.mark.parametrize("refine", [True, False])
def test_outputs_keep_their_places_with_refinement_or_without(refine: bool, tiny: Any, episodes: Any) -> None:
    query, support, mask = episodes(shots=2)
    method = IFA(IFA.Config(refine=refine), tiny())
    outputs = method.training_outputs(query, support, mask, mask[:, 0])
    episodes_of = [
        "query",
        "query",
        "query",
        "supports",
        "supports",
        "query",
        "supports",
        "query",
        "supports",
    ]
    assert [len(each) // len(query) for each in outputs] == [
        {"query": 1, "supports": 2}[e] for e in episodes_of
    ]
    assert not any("by name" in note.text for note in IFA.card.notes)


@torch.no_grad()
def test_is_refined_ssp_at_test_time(tiny: Any, episodes: Any) -> None:
    inputs = episodes(shots=2)
    ssp, ifa = SSP(SSP.Config(refine=True), tiny()), IFA(IFA.Config(), tiny())
    assert torch.equal(ssp.predict(*inputs), ifa.predict(*inputs))


@pytest.mark.parametrize("phase", ["base", "adaptation"])
def test_the_loss_falls(tiny: Any, episodes: Any, phase: str) -> None:
    method = IFA(IFA.Config(phase=phase), tiny()).train()
    optimiser = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=5e-3, momentum=0.9)
    query, support, mask = episodes(batch=2, shots=2)
    nothing = torch.zeros(2, 64, 64, dtype=torch.bool)
    losses = []
    for _ in range(15):
        optimiser.zero_grad()
        loss = method.loss(query, support, mask, mask[:, 0].bool(), nothing)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.97 * losses[0]


@torch.no_grad()
def test_adaptation_is_off_by_default_and_leaves_nothing_behind(tiny: Any, episodes: Any) -> None:
    """Two orders of episodes agree; weights and the global generator stay; its own generator decides."""
    plain = IFA(IFA.Config(), tiny())
    method = IFA(IFA.Config(adapt=2, adapt_rate=0.05), tiny())
    method.load_state_dict(plain.state_dict())
    assert plain.steps == 0
    several = [episodes(shots=2, seed=seed) for seed in range(2)]
    before = {k: v.clone() for k, v in method.state_dict().items()}
    drawn = torch.get_rng_state()
    forward = [method.predict(*e, seed=3) for e in several]
    backward = [method.predict(*several[i], seed=3) for i in (1, 0)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert all(torch.equal(v, before[k]) for k, v in method.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not forward[0].requires_grad
    assert not torch.equal(forward[0], plain.predict(*several[0]))
    assert not torch.equal(forward[0], method.predict(*several[0], seed=4))


@pytest.mark.parametrize("side", [6, 7])
def test_changes_keep_every_value_and_move_map_and_mask_alike(side: int) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.arange(side * side, dtype=torch.float32).view(1, side, side)
    seen = set()
    for _ in range(40):
        change = draw_change(generator)
        result = apply_change(maps, change)
        assert sorted(result.flatten().tolist()) == sorted(maps.flatten().tolist())
        assert torch.equal(apply_change(maps * 2, change), result * 2)
        seen.add(tuple(result.flatten().tolist()))
    assert len(seen) > 20
    assert torch.equal(apply_change(maps, Change((), 0, (0, 1, 2, 3))), maps)
    assert torch.equal(apply_change(maps, Change((-1,), 0, (0, 1, 2, 3))), maps.flip(-1))
    assert torch.equal(apply_change(maps, Change((), 1, (0, 1, 2, 3))), torch.rot90(maps, 1, (-2, -1)))
    swapped = apply_change(maps, Change((), 0, (3, 1, 2, 0)))
    half = side // 2
    assert torch.equal(swapped[:, :half, :half], maps[:, -half:, -half:])
