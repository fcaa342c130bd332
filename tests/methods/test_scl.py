"""SCL's figures, its two vectors, its weighing of supports and its loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fssbench.methods.scl import SCL, compute_mean_iou
from small_backbone import check_on_small_backbone
from torch import Tensor
from torch.nn import functional
from undrawn_weights import load_undrawn


def made(tiny: Callable[..., Any]) -> SCL:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SCL(SCL.Config(ppm_scales=(6, 3)), tiny()).eval()


@pytest.mark.parametrize(("backbone", "learnable"), [("resnet50", 11_865_610)])
def test_parameter_counts(backbone: str, learnable: int) -> None:
    method = load_undrawn("scl", backbone=backbone, weights="random")
    assert sum(p.numel() for p in method.parameters() if p.requires_grad) == learnable
    assert sum(p.numel() for p in method.parameters()) == 35_497_418


def test_mean_iou_of_both_classes() -> None:
    from sklearn.metrics import jaccard_score

    generator = torch.Generator().manual_seed(0)
    predicted, truth = (torch.rand(3, 9, 9, generator=generator) > 0.4 for _ in range(2))
    for result, a, b in zip(compute_mean_iou(predicted, truth), predicted, truth, strict=True):
        expected = jaccard_score(b.flatten().numpy(), a.flatten().numpy(), average="macro")
        assert float(result) == pytest.approx(expected)
    nothing = torch.zeros(1, 4, 4, dtype=torch.bool)
    assert compute_mean_iou(nothing, nothing) == 0.5


@torch.no_grad()
def test_the_object_splits_into_what_is_found_and_what_is_missed(tiny: Any, episodes: Any) -> None:
    method = made(tiny)
    _, support, mask = episodes(size=97)
    maps = {tap: f[:, 0] for tap, f in method.read(support[:, 0], support)[1].items()}
    read = method.read_support(maps, mask[:, 0])
    grid = read.objects.shape[-2:]
    cells = functional.interpolate(mask, grid, mode="bilinear", align_corners=True)[0, 0]
    for label, vector in ((1, read.vectors[0]), (0, read.vectors[1])):
        chosen = (read.first.logits[0].argmax(dim=0) == label) & (cells > 0.999)
        area = read.objects[0][:, chosen]
        assert torch.allclose(vector[0], area.sum(dim=1) / (area.shape[1] + 5e-4), atol=1e-5)


@torch.no_grad()
def test_supports_weigh_as_much_as_they_find_in_all(
    tiny: Any, episodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = made(tiny)
    query, support, mask = episodes(batch=2, shots=3, size=97)
    single = [method.predict(query, support[:, k : k + 1], mask[:, k : k + 1]) for k in range(3)]
    weights: list[Tensor] = []
    merit = method.compute_merit
    monkeypatch.setattr(method, "compute_merit", lambda *given: weights.append(merit(*given)) or weights[-1])
    together = method.predict(query, support, mask)
    expected = sum(w.view(2, 1, 1, 1) * s for w, s in zip(weights, single, strict=True)) / 5
    assert len(weights) == 3
    assert all(((w >= 0) & (w <= 1)).all() for w in weights)
    assert torch.allclose(together, expected, atol=1e-5)  # type: ignore[arg-type]


@torch.no_grad()
def test_its_own_vectors_predict_a_support_as_the_merit_says(tiny: Any, episodes: Any) -> None:
    method = made(tiny)
    query, support, mask = episodes(size=97)
    (read,), _ = method.predict_from_each(*method.read(query, support), mask)
    again = method.predict_support(read.objects, read.vectors, read.first.levels).logits
    full = functional.interpolate(again, (97, 97), mode="bilinear", align_corners=True)
    expected = compute_mean_iou(full.argmax(dim=1) == 1, mask[:, 0] == 1)
    assert torch.allclose(method.compute_merit(read.vectors, [read], mask), expected)


def test_the_loss_has_three_terms_and_reaches_every_parameter(tiny: Any, episodes: Any) -> None:
    method = made(tiny)
    query, support, mask = episodes(batch=2, size=97)
    target = mask[:, 0] == 1
    ignore = torch.zeros_like(target)
    loss = method.loss(query, support, mask, target, ignore)
    loss.backward()
    learnable = [p for p in method.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learnable)
    with torch.no_grad():
        twice = method.loss(query, support.repeat(1, 2, 1, 1, 1), mask.repeat(1, 2, 1, 1), target, ignore)
        assert torch.allclose(twice, loss, atol=1e-4)
        no_query = method.loss(query, support, mask, target, torch.ones_like(target))
    assert no_query < loss


def test_names_of_the_authors() -> None:
    method = load_undrawn("scl", backbone="efficientnet-lite0", weights="random")
    assert method.rename_reference("supp_init_merge.3.0.weight") == "supp_init_merge.3.0.weight"
    assert method.rename_reference("beta_conv.3.2.weight") == "enrich.beta_conv.3.2.weight"


class SmallSCL(SCL):
    """With scales that fit small inputs."""

    class Config(SCL.Config):  # type: ignore[name-defined, misc]
        ppm_scales: tuple[float, ...] = (6, 3)


def test_a_smaller_one_keeps_the_contract() -> None:
    assert not [r for r in check_on_small_backbone(SmallSCL) if r.status == "fail"]
