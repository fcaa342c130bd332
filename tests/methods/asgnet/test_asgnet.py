"""ASGNet's figures, its prototypes and their allocation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fssbench.methods.asgnet.method import ASGNet, allocate
from small_backbone import check_on_small_backbone
from torch.nn import functional
from undrawn_weights import load_undrawn

import fssbench


def made(tiny: Callable[..., Any], **config: Any) -> ASGNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ASGNet(ASGNet.Config(ppm_scales=(6, 3), **config), tiny()).eval()


def test_parameter_counts_the_unused_fourth_stage_included() -> None:
    method = load_undrawn("asgnet", backbone="resnet50", weights="random")
    assert sum(p.numel() for p in method.parameters() if p.requires_grad) == 10_423_818
    assert sum(p.numel() for p in method.parameters()) == 34_055_626
    assert method.taps.query == method.taps.support == ("layer2.3.relu", "layer3.5.relu")


@torch.no_grad()
def test_equals_the_reference(golden: Callable[[str], Any]) -> None:
    """With superpixels, and with one prototype alone, of the same features."""
    reference = golden("asgnet_resnet50_fem_257")
    method = reference.method("asgnet", "resnet50")
    query, support, mask = reference.episode(257, 1)
    features = method.read(query, support)
    assert reference.error("logits_1shot", method.predict(*features, mask), 4) < 1e-4
    single = reference.method("asgnet", "resnet50", superpixels=1)
    assert reference.error("logits_1shot_one_prototype", single.predict(*features, mask), 8) < 1e-4


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
    (prototypes,) = method.make_prototypes(objects, mask)
    assert prototypes.shape == (1 + 3 + 5, 256)
    inside = functional.interpolate(mask[:, :1], (33, 33), mode="bilinear", align_corners=True)[0, 0]
    average = (objects[0, 0] * inside).sum((1, 2)) / (inside.sum() + 5e-4)
    assert torch.allclose(prototypes[0], average, atol=1e-5)
    (averages,) = made(tiny, superpixels=1).make_prototypes(objects, mask)
    assert averages.shape == (3, 256)


@torch.no_grad()
def test_training_takes_ten_updates_and_evaluation_five(tiny: Any) -> None:
    method = made(tiny)
    objects, mask = torch.randn(1, 1, 256, 33, 33) / 20, torch.zeros(1, 1, 257, 257)
    mask[..., 16:, 16:] = 1
    five = method.make_prototypes(objects, mask)[0]
    ten = method.train().make_prototypes(objects, mask)[0]
    assert five.shape == ten.shape
    assert not torch.equal(five, ten)


def test_the_loss_reaches_every_parameter(tiny: Any, episodes: Any) -> None:
    method = made(tiny)
    query, support, mask = episodes(batch=2, size=97)
    target = mask[:, 0] == 1
    method.loss(query, support, mask, target, torch.zeros_like(target)).backward()
    learnable = [p for p in method.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learnable)


def _release_name(own: str) -> str:
    """The authors' name of an entry of the alternative, written out from their layout."""
    part, _, rest = own.removeprefix("context.").partition(".")
    if own.startswith("backbone."):
        return rest
    if part == "context":
        index, rest = rest.removeprefix("branches.").split(".", 1)
        return f"ASPP.layer6_{index}.{rest}"
    if part == "skips":
        index, rest = rest.split(".", 1)
        return f"skip{int(index) + 1}.{rest}"
    if part == "shallow":
        index, rest = rest.split(".", 1)
        return f"decoder.{'conv1' if index == '0' else 'bn1'}.{rest}"
    return f"{ {'narrow': 'ASPP.layer7', 'begin': 'corr_conv', 'join': 'decoder.last_conv'}.get(part, part) }.{rest}"


def test_the_alternative_s_file_loads_and_says_itself_what_it_is(tmp_path: Path) -> None:
    first = fssbench.load_method("asgnet", backbone="resnet50", weights="random", seed=1, context="aspp")
    assert first.provenance.learnable == 9_278_852
    state = {f"module.{_release_name(k)}": v for k, v in first.state_dict().items()}
    torch.save({"epoch": 200, "state_dict": state, "optimizer": {}}, tmp_path / "best.pth")
    again = load_undrawn("asgnet", backbone="resnet50", checkpoint=tmp_path / "best.pth", seed=2)
    assert again.config.context == "aspp"  # type: ignore[attr-defined]
    assert again.provenance.learnable == 9_278_852
    own = again.state_dict()
    assert own.keys() == first.state_dict().keys()
    assert all(torch.equal(own[k], v) for k, v in first.state_dict().items())


@torch.no_grad()
def test_the_alternative_by_definition(tiny: Any, episodes: Any) -> None:
    """Rectified residuals, five ranges side by side, then the first stage's features, with dropout off."""
    method = made(tiny, context="aspp")
    context = method.context
    assert context is not None
    guided, shallow = torch.randn(1, 513, 7, 7), torch.randn(1, 8, 13, 13)
    x = functional.relu(functional.conv2d(guided, context.begin[0].weight, padding=1))  # type: ignore[arg-type]
    for skip in context.skips:
        rectified = functional.relu(x)
        inner = functional.conv2d(rectified, skip[1].weight, padding=1)  # type: ignore[index]
        x = rectified + functional.conv2d(functional.relu(inner), skip[3].weight, padding=1)  # type: ignore[index]
    mean = functional.adaptive_avg_pool2d(x, 1).expand(-1, -1, 7, 7)
    seen = [context.context.branches[0](mean), *(b(x) for b in list(context.context.branches)[1:])]
    x = functional.relu(context.narrow[0](torch.cat(seen, dim=1)))
    grown = functional.interpolate(x, (13, 13), mode="bilinear", align_corners=True)
    expected = context.cls(context.join(torch.cat([grown, context.shallow(shallow)], dim=1)))
    result = context(guided, shallow)
    assert torch.allclose(result.logits, expected, atol=1e-5)
    assert torch.allclose(context.auxiliary(result)[0], context.cls_aux(x), atol=1e-5)


def test_the_alternative_learns_everywhere(tiny: Any, episodes: Any) -> None:
    method = made(tiny, context="aspp").train()
    query, support, mask = episodes(batch=2, size=97)
    target = mask[:, 0] == 1
    method.loss(query, support, mask, target, torch.zeros_like(target)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters() if p.requires_grad)


class SmallASGNet(ASGNet):
    """With scales that fit small inputs."""

    class Config(ASGNet.Config):  # type: ignore[name-defined, misc]
        ppm_scales: tuple[float, ...] = (6, 3)


def test_a_smaller_one_keeps_the_contract() -> None:
    assert not [r for r in check_on_small_backbone(SmallASGNet) if r.status == "fail"]
