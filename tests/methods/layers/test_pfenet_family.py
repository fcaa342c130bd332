"""What PFENet and the methods on it share: their references' own size, their recipe, a loss that falls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fssbench.methods.asgnet import ASGNet
from fssbench.methods.layers.pfenet_base import PyramidMethod
from fssbench.methods.ntrenet import NTRENet
from fssbench.methods.pfenet import PFENet
from fssbench.methods.scl import SCL

from fssbench.training.settings import Settings, make_effective_recipe

FAMILY = [PFENet, SCL, ASGNet, NTRENet]


@pytest.mark.parametrize("cls", FAMILY)
def test_the_loss_reaches_every_parameter_and_falls(
    cls: type[PyramidMethod], tiny: Callable[..., Any], episodes: Callable[..., Any]
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        method = cls(cls.Config(ppm_scales=(6, 3)), tiny()).train()
        _, support, mask = episodes(batch=2)
        target = mask[:, 0] == 1
        learnable = [p for p in method.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(learnable, lr=0.03, momentum=0.9)
        losses = []
        for step in range(12):
            optimizer.zero_grad()
            loss = method.loss(support[:, 0], support, mask, target, torch.zeros_like(target))
            loss.backward()
            if step == 0:
                assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learnable)
            optimizer.step()
            losses.append(float(loss.detach()))
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


@pytest.mark.parametrize("cls", FAMILY)
def test_the_recipe_is_the_authors_for_pascal(cls: type[PyramidMethod]) -> None:
    recipe = cls.recipe
    assert recipe is not None
    assert (recipe.optimizer, recipe.learning_rate, recipe.batch) == ("sgd", 2.5e-2, 4)
    assert recipe.epochs == (150 if cls is NTRENet else 200)
    assert recipe.stated_rate == 2.5e-3
    assert recipe.rate(0, 100) == 2.5e-2
    assert recipe.rate(50, 100) == pytest.approx(2.5e-2 * 0.5**0.9)


def test_a_rate_from_the_command_line_replaces_the_stated_one_too() -> None:
    assert PFENet.recipe is not None
    asked = Settings(benchmark="pascal5i", out=Path("trained"), learning_rate=1e-3, size=97)
    recipe = make_effective_recipe(PFENet.recipe, asked, PFENet, batch=4)  # type: ignore[arg-type]
    assert (recipe.learning_rate, recipe.stated_rate) == (1e-3, None)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(
    ("method", "file"),
    [
        ("pfenet", "pfenet_resnet50_257"),
        ("scl", "scl_pfenet_resnet50_257"),
        ("asgnet", "asgnet_resnet50_fem_257"),
    ],
)
def test_the_family_equals_its_references_at_their_own_size(
    method: str, file: str, golden: Callable[[str], Any]
) -> None:
    reference = golden(file)
    logits = reference.method(method, "resnet50").predict(*reference.episode(473, 1))
    stride = -(-473 // reference.file["logits_1shot_473"].shape[-1])
    assert reference.error("logits_1shot_473", logits, stride) < 1e-4
