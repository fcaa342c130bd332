"""PATNet's figures, its anchors by backbone, and its transform against the definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fssbench.methods.hsnet import HSNet
from fssbench.methods.patnet import PATNet, _coordinates, _transform
from torch import nn

import fssbench
from fssbench.testing import check_method


@pytest.mark.parametrize(("backbone", "learnable"), [("resnet50", 2_580_968), ("vgg16", 2_573_096)])
def test_parameter_counts(backbone: str, learnable: int) -> None:
    method = fssbench.load_method("patnet", backbone=backbone, weights="random")
    assert method.provenance["learnable"] == learnable


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
    method = fssbench.load_method("patnet", backbone=backbone, weights="random")
    anchors = [m for n, m in method.named_children() if n.startswith("reference_layer")]
    assert [m.in_features for m in anchors if isinstance(m, nn.Linear)] == widths


@torch.no_grad()
def test_vgg_takes_anchors_by_position_as_published_or_by_stage() -> None:
    episode = torch.randn(1, 3, 96, 96), torch.randn(1, 1, 3, 96, 96), torch.zeros(1, 1, 96, 96)
    episode[2][..., 20:60, 30:70] = 1
    for by_stage, users in ((False, {1, 2}), (True, {1, 2, 3})):
        method = fssbench.load_method("patnet", backbone="vgg16", weights="random", anchors_by_stage=by_stage)
        before = method.predict(*episode)
        for number in (1, 2, 3):
            method.get_parameter(f"reference_layer{number}.bias").add_(1)
            assert torch.equal(method.predict(*episode), before)
            weight = method.get_parameter(f"reference_layer{number}.weight")
            kept = weight.clone()
            weight.normal_(generator=torch.Generator().manual_seed(number))
            assert torch.equal(method.predict(*episode), before) is (number not in users)
            weight.copy_(kept)


@torch.no_grad()
def test_the_transform_takes_prototypes_to_anchors() -> None:
    """Weighted means of support features, written out, must land on the anchors, all of unit length."""
    torch.manual_seed(0)
    support = torch.randn(2, 6, 4, 5, dtype=torch.float64)
    mask = torch.rand(2, 1, 4, 5, dtype=torch.float64)
    anchors = torch.randn(2, 6, dtype=torch.float64)
    coordinates = _coordinates(support, mask)
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
    monkeypatch.setattr("fssbench.methods.patnet._transform", lambda features, *_: features)
    assert torch.allclose(method.predict(*episode), host.predict(*episode), atol=1e-5)


def test_the_authors_file_loads(tmp_path: Path) -> None:
    first = fssbench.load_method("patnet", backbone="vgg16", weights="random", seed=1)
    file = {f"module.{k}": v for k, v in first.state_dict().items()}
    file["module.backbone.classifier.0.weight"] = torch.zeros(1)
    torch.save(file, tmp_path / "best_model.pt")
    again = fssbench.load_method("patnet", backbone="vgg16", checkpoint=tmp_path / "best_model.pt", seed=2)
    assert all(torch.equal(v, first.state_dict()[k]) for k, v in again.state_dict().items())


def test_it_keeps_the_contract() -> None:
    broken = [r for r in check_method(PATNet) if r.status == "fail"]
    assert broken == []
