"""PATNet's figures, its anchors by backbone, and its transform against the definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fssbench.methods.hsnet import HSNet
from fssbench.methods.patnet import PATNet, _make_coordinates, _transform
from torch import nn
from undrawn_weights import load_undrawn

import fssbench


@pytest.mark.parametrize(("backbone", "learnable"), [("resnet50", 2_580_968), ("vgg16", 2_573_096)])
def test_parameter_counts(backbone: str, learnable: int) -> None:
    method = load_undrawn("patnet", backbone=backbone, weights="random")
    assert method.provenance.learnable == learnable


@pytest.mark.parametrize(
    ("backbone", "widths"),
    [
        ("resnet50", [512, 1024, 2048]),
        ("resnet101", [512, 1024, 2048]),
        ("vgg16", [512, 512, 512]),
        ("efficientnet-lite0", [40, 80, 112, 192, 320]),
    ],
)
def test_one_pair_of_anchors_for_each_stage_and_width(backbone: str, widths: list[int]) -> None:
    method = load_undrawn("patnet", backbone=backbone, weights="random")
    anchors = [m for n, m in method.named_children() if n.startswith("reference_layer")]
    assert [m.in_features for m in anchors if isinstance(m, nn.Linear)] == widths


@torch.no_grad()
def test_vgg_takes_anchors_by_position_as_published_or_by_stage() -> None:
    episode = torch.randn(1, 3, 96, 96), torch.randn(1, 1, 3, 96, 96), torch.zeros(1, 1, 96, 96)
    episode[2][..., 20:60, 30:70] = 1
    for by_stage, users in ((False, {1, 2}), (True, {1, 2, 3})):
        method = fssbench.load_method("patnet", backbone="vgg16", weights="random", anchors_by_stage=by_stage)
        given = *method.read(*episode[:2]), episode[2]
        before = method.predict(*given)
        for number in (1, 2, 3):
            method.get_parameter(f"reference_layer{number}.bias").add_(1)
            assert torch.equal(method.predict(*given), before)
            weight = method.get_parameter(f"reference_layer{number}.weight")
            kept = weight.clone()
            weight.normal_(generator=torch.Generator().manual_seed(number))
            assert torch.equal(method.predict(*given), before) is (number not in users)
            weight.copy_(kept)


@torch.no_grad()
def test_the_transform_takes_prototypes_to_anchors() -> None:
    """Weighted means of support features, written out, must land on the anchors, all of unit length."""
    torch.manual_seed(0)
    support = torch.randn(2, 6, 4, 5, dtype=torch.float64)
    mask = torch.rand(2, 1, 4, 5, dtype=torch.float64)
    anchors = torch.randn(2, 6, dtype=torch.float64)
    coordinates = _make_coordinates(support, mask)
    for row, weight in enumerate((1 - mask, mask)):
        mean = (support * weight).sum(dim=(2, 3)) / weight.sum(dim=(2, 3))
        mean = nn.functional.normalize(mean, dim=1)
        landed = _transform(mean[..., None, None], coordinates, anchors)[..., 0, 0]
        target = nn.functional.normalize(anchors[row], dim=0).expand(2, 6)
        assert torch.allclose(landed, target, atol=1e-5)


@torch.no_grad()
def test_without_the_transform_it_is_hsnet(tiny: Any, episodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    host = HSNet(HSNet.Config(), tiny()).eval()
    method = PATNet(PATNet.Config(), tiny()).eval()
    method.hpn_learner.load_state_dict(host.hpn_learner.state_dict())
    episode = episodes(batch=2, shots=2)
    assert not torch.allclose(method.predict(*episode), host.predict(*episode))
    monkeypatch.setattr("fssbench.methods.patnet._map_to_axes", lambda features, *_: features)
    assert torch.allclose(method.predict(*episode), host.predict(*episode), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("shots", [1, 3])
def test_fine_tuning_moves_the_first_anchors_and_leaves_nothing_behind(
    tiny: Any, episodes: Any, shots: int
) -> None:
    """Off by default; on, two orders of episodes agree and the anchors stay as they were."""

    def made(**config: Any) -> PATNet:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            return PATNet(PATNet.Config(**config), tiny()).eval()

    method, plain = made(finetune=3, finetune_rate=0.05), made()
    assert plain.steps == 0
    several = [episodes(shots=shots, seed=seed, size=97) for seed in range(2)]
    before = {k: v.clone() for k, v in method.state_dict().items()}
    forward = [method.predict(*e) for e in several]
    backward = [method.predict(*several[i]) for i in (1, 0)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert all(torch.equal(v, before[k]) for k, v in method.state_dict().items())
    assert not any(f.requires_grad for f in forward)
    assert any(not torch.equal(f, plain.predict(*e)) for f, e in zip(forward, several, strict=True))


def test_fine_tuning_brings_transformed_objects_together(tiny: Any, episodes: Any) -> None:
    torch.manual_seed(3)
    method = PATNet(PATNet.Config(finetune=20, finetune_rate=0.01), tiny()).eval()
    query, support, mask = episodes(size=97)
    cells, objects = method.read(query, support)
    predicted = torch.zeros(1, 1, 20, 20)
    predicted[..., 4:12, 5:16] = 1
    anchors = method.get_parameter("reference_layer1.weight").detach().clone().requires_grad_()
    given = (cells, objects, mask, predicted)
    first = method.compute_divergence(*given, anchors, 0)
    (gradient,) = torch.autograd.grad(first, anchors)
    second = method.compute_divergence(*given, (anchors - 0.1 * gradient).detach(), 0)
    assert 0 < second.detach() < first.detach()


def test_the_authors_file_loads(tmp_path: Path) -> None:
    first = fssbench.load_method("patnet", backbone="vgg16", weights="random", seed=1)
    file = {f"module.{k}": v for k, v in first.state_dict().items()}
    file["module.backbone.classifier.0.weight"] = torch.zeros(1)
    torch.save(file, tmp_path / "best_model.pt")
    again = load_undrawn("patnet", backbone="vgg16", checkpoint=tmp_path / "best_model.pt", seed=2)
    assert all(torch.equal(v, first.state_dict()[k]) for k, v in again.state_dict().items())
