"""ASGNet's figures, its prototypes and their allocation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fssbench.methods.asgnet import ASGNet, allocate
from torch.nn import functional

import fssbench
from fssbench.testing import check_method


def made(tiny: Callable[..., Any], **config: Any) -> ASGNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ASGNet(ASGNet.Config(ppm_scales=(6, 3), **config), tiny()).eval()


def test_parameter_counts_the_unused_fourth_stage_included() -> None:
    method = fssbench.load_method("asgnet", backbone="resnet50", weights="random")
    assert sum(p.numel() for p in method.parameters() if p.requires_grad) == 10_423_818
    assert sum(p.numel() for p in method.parameters()) == 34_055_626
    assert method.taps.query == method.taps.support == ("layer2.3.relu", "layer3.5.relu")


@torch.no_grad()
def test_one_prototype_equals_the_reference(golden: Callable[[str], Any]) -> None:
    reference = golden("asgnet_resnet50_fem_257")
    method = reference.method("asgnet", "resnet50", superpixels=1)
    logits = method.predict(*reference.episode(257, 1))
    assert reference.error("logits_1shot_one_prototype", logits, 8) < 1e-4


def test_each_cell_gets_the_prototype_it_is_most_like() -> None:
    generator = torch.Generator().manual_seed(0)
    cells, prototypes = torch.randn(5, 3, 4, generator=generator), torch.randn(6, 5, generator=generator)
    chosen, likeness = allocate(cells, prototypes)
    for y in range(3):
        for x in range(4):
            cosines = functional.cosine_similarity(cells[:, y, x].unsqueeze(0), prototypes)
            assert torch.equal(chosen[:, y, x], prototypes[cosines.argmax()])
            assert likeness[0, y, x] == pytest.approx(float(cosines.sum()), abs=1e-5)


@torch.no_grad()
def test_large_objects_have_more_prototypes_and_all_supports_are_pooled(tiny: Any) -> None:
    method = made(tiny)
    objects = torch.randn(1, 3, 256, 33, 33)
    mask = torch.zeros(1, 3, 257, 257)
    mask[:, 0, :80, :80] = 1  # 100 cells: one
    mask[:, 1, 8:120, 8:200] = 1  # 14 x 24 cells: three
    mask[:, 2, 8:250, 8:250] = 1  # 31 x 31 cells: five
    (prototypes,) = method._prototypes(objects, mask)
    assert prototypes.shape == (1 + 3 + 5, 256)
    inside = functional.interpolate(mask[:, :1], (33, 33), mode="bilinear", align_corners=True)[0, 0]
    average = (objects[0, 0] * inside).sum((1, 2)) / (inside.sum() + 5e-4)
    assert torch.allclose(prototypes[0], average, atol=1e-5)
    (averages,) = made(tiny, superpixels=1)._prototypes(objects, mask)
    assert averages.shape == (3, 256)


@torch.no_grad()
def test_training_takes_ten_updates_and_evaluation_five(tiny: Any) -> None:
    method = made(tiny)
    objects, mask = torch.randn(1, 1, 256, 33, 33) / 20, torch.zeros(1, 1, 257, 257)
    mask[..., 16:, 16:] = 1
    five = method._prototypes(objects, mask)[0]
    ten = method.train()._prototypes(objects, mask)[0]
    assert five.shape == ten.shape
    assert not torch.equal(five, ten)


def test_the_loss_reaches_every_parameter(tiny: Any, episodes: Any) -> None:
    method = made(tiny)
    query, support, mask = episodes(batch=2, size=97)
    target = mask[:, 0] == 1
    method.loss(query, support, mask, target, torch.zeros_like(target)).backward()
    learnable = [p for p in method.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learnable)


class SmallASGNet(ASGNet):
    """With scales that fit small inputs."""

    class Config(ASGNet.Config):  # type: ignore[name-defined, misc]
        ppm_scales: tuple[float, ...] = (6, 3)


@pytest.mark.parametrize(
    "cls", [SmallASGNet, pytest.param(ASGNet, marks=[pytest.mark.slow, pytest.mark.timeout(400)])]
)
def test_contract(cls: type[ASGNet]) -> None:
    assert not [r for r in check_method(cls) if r.status == "fail"]
