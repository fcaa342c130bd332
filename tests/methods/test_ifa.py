"""IFA against its reference, at test and in training mode."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fssbench.methods.ifa import IFA
from fssbench.methods.ssp import SSP
from torch.nn import functional

import fssbench
from fssbench.testing import check_method


@torch.no_grad()
@pytest.mark.parametrize("shots", [1, 5])
def test_equals_the_reference(shared: Path, shots: int) -> None:
    golden = np.load(shared / "golden" / "ifa_resnet50_256.npz")
    spec = importlib.util.spec_from_file_location("golden_recipe", shared / "golden" / "recipe.py")
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    sys.modules["golden_recipe"] = recipe
    spec.loader.exec_module(recipe)
    size, tag, salt, stride = (golden[k].item() for k in ("size", "tag", "salt", "stride"))
    shapes = {
        str(n): tuple(int(x) for x in str(s).split(",") if x)
        for n, s in zip(golden["names"], golden["shapes"], strict=True)
    }
    state = {n: recipe.values(n, s, salt) for n, s in shapes.items()}
    query = recipe.image(f"{tag}/query", size)[None]
    support = torch.stack([recipe.image(f"{tag}/support{k}", size) for k in range(shots)])[None]
    mask = torch.stack([recipe.mask(f"{tag}/support{k}", size) for k in range(shots)])[None]
    method = fssbench.load_method("ifa", backbone="resnet50", weights="random")
    assert isinstance(method, IFA)
    method.load_reference(state)
    assert method.provenance["learnable"] == golden["learnable"]

    def same(found: torch.Tensor, key: str, step: int) -> None:
        grown = functional.interpolate(found, (size, size), mode="bilinear", align_corners=True)
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


def test_keeps_the_contract() -> None:
    assert [r for r in check_method(IFA) if r.status == "fail"] == []
