"""SSP against its reference's outputs, and self-support against its definition."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from fssbench.methods.layers.self_support import Prototypes, find_self_support
from fssbench.methods.ssp import SSP
from places import load_golden_recipe
from shared_passes import run_once
from torch import Tensor
from undrawn_weights import load_undrawn

import fssbench


@pytest.fixture(scope="module")
def recipe(shared: Path) -> ModuleType:
    return load_golden_recipe(shared)


@torch.no_grad()
def test_equals_the_reference(shared: Path, recipe: ModuleType) -> None:
    golden = np.load(shared / "golden" / "ssp_resnet50_256.npz")
    size, tag, salt, stride = (golden[k].item() for k in ("size", "tag", "salt", "stride"))
    shapes = {
        str(n): tuple(int(x) for x in str(s).split(",") if x)
        for n, s in zip(golden["names"], golden["shapes"], strict=True)
    }
    method = load_undrawn("ssp", backbone="resnet50", weights="random")
    method.load_reference({f"module.{n}": recipe.values(n, s, salt) for n, s in shapes.items()})
    query = recipe.image(f"{tag}/query", size)[None]
    support = torch.stack([recipe.image(f"{tag}/support{k}", size) for k in range(5)])[None]
    mask = torch.stack([recipe.mask(f"{tag}/support{k}", size) for k in range(5)])[None]
    cells, objects = method.read(query, support)  # which serve both settings and numbers of supports
    method.encoder.forward = run_once(method.encoder.forward)  # as does what it encodes
    for refine, ending in ((False, "plain"), (True, "refine")):
        method.config = SSP.Config(refine=refine)
        for shots in (1, 5):
            given = {tap: maps[:, :shots] for tap, maps in objects.items()}
            result = method.predict(cells, given, mask[:, :shots])[..., ::stride, ::stride].numpy()
            expected = golden[f"logits_{shots}shot_{ending}"]
            assert np.abs(result - expected).max() <= 1e-4 * np.abs(expected).max()
    assert method.provenance.learnable == golden["learnable"]
    assert sum(p.numel() for p in method.backbone.parameters()) == golden["total"]


def _by_definition(features: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """One image (C, N), logits (2, N): background map (C, N) and foreground vector (C), cell by cell."""
    chosen = []
    for probability, least in zip(logits.softmax(0), (0.6, 0.7), strict=True):
        sure = [i for i, p in enumerate(probability.tolist()) if p > least]
        chosen.append(features[:, sure or probability.topk(12).indices.tolist()])
    background, foreground = chosen
    adaptive = []
    for cell in features.T:
        alike = [2 * torch.cosine_similarity(cell, other, dim=0) for other in background.T]
        adaptive.append((background * torch.stack(alike).softmax(0)).sum(1))
    whole = 0.3 * background.mean(1, keepdim=True) + 0.7 * torch.stack(adaptive, 1)
    return whole, foreground.mean(1)


@pytest.mark.parametrize("spread", [3.0, 0.01])
def test_self_support_is_its_definition_with_and_without_sure_cells(spread: float) -> None:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(2, 8, 5, 6, generator=generator)
    logits = spread * torch.randn(2, 2, 5, 6, generator=generator)
    sure = (logits.softmax(1)[:, 1] > 0.7).any()
    assert bool(sure) == (spread > 1)
    result = find_self_support(features, logits)
    for i in range(2):
        background, foreground = _by_definition(features[i].flatten(1), logits[i].flatten(1))
        assert torch.allclose(result.background[i].flatten(1), background, atol=1e-5)
        assert torch.allclose(result.foreground[i].flatten(), foreground, atol=1e-5)


def test_prototypes_of_a_mask_are_its_averages() -> None:
    features, mask = torch.randn(1, 4, 3, 3), torch.zeros(1, 3, 3)
    mask[0, 0] = 1
    pair = Prototypes.of_mask(features, mask)
    assert torch.allclose(pair.foreground.flatten(), features[0, :, 0].mean(1), atol=1e-4)
    assert torch.allclose(pair.background.flatten(), features[0, :, 1:].flatten(1).mean(1), atol=1e-4)


def test_the_loss_falls_and_only_the_copy_of_two_stages_learns(tiny: Any, episodes: Any) -> None:
    torch.manual_seed(0)
    method = SSP(SSP.Config(refine=True), tiny()).train()
    frozen = {k: v.clone() for k, v in method.backbone.state_dict().items()}  # type: ignore[union-attr]
    learnt = [p for p in method.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(learnt, lr=1e-2, momentum=0.9)
    query, support, mask = episodes(batch=2)
    nothing = torch.zeros(2, 64, 64, dtype=torch.bool)
    losses = []
    for _ in range(15):
        optimiser.zero_grad()
        loss = method.loss(*method.read(query, support), mask, mask[:, 0].bool(), nothing)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
    assert all(torch.equal(v, frozen[k]) for k, v in method.backbone.state_dict().items())  # type: ignore[union-attr]


def test_ignored_pixels_have_no_part_in_the_loss(tiny: Any, episodes: Any) -> None:
    method = SSP(SSP.Config(), tiny())
    query, support, mask = episodes()
    target, ignore = mask[:, 0].bool(), torch.zeros(1, 64, 64, dtype=torch.bool)
    ignore[:, :, :20] = True
    own = (target & ~ignore, ignore)
    assert torch.equal(method.loss(query, support, mask, *own), method.loss(query, support, mask, *own))
    assert not torch.equal(
        method.loss(query, support, mask, *own), method.loss(query, support, mask, target, ~(ignore | True))
    )


@pytest.mark.parametrize(("backbone", "stem"), [("efficientnet-lite0", "deep"), ("resnet50", "plain")])
@torch.no_grad()
def test_works_on_other_backbones(backbone: str, stem: str, episodes: Any) -> None:
    method = fssbench.load_method("ssp", backbone=backbone, weights="random", stem=stem)
    assert method.backbone is not None
    assert method.backbone.layout == "standard"
    assert method.predict(*episodes(size=97)).isfinite().all()
