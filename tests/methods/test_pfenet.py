"""PFENet's figures, its settings, its encoders, its checkpoints and its loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fssbench.methods.pfenet import PFENet
from small_backbone import check_on_small_backbone
from torch.nn import functional
from undrawn_weights import load_undrawn

import fssbench
from fssbench.api import UsageError


def made(tiny: Callable[..., Any], **config: Any) -> PFENet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PFENet(PFENet.Config(ppm_scales=(6, 3), **config), tiny())


@pytest.mark.parametrize(
    ("backbone", "learnable", "total"),
    [("resnet50", 10_817_034, 34_448_842), ("vgg16", 10_423_818, 25_146_954)],
)
def test_parameter_counts(backbone: str, learnable: int, total: int) -> None:
    method = load_undrawn("pfenet", backbone=backbone, weights="random")
    assert sum(p.numel() for p in method.parameters() if p.requires_grad) == learnable
    assert sum(p.numel() for p in method.parameters()) == total


@pytest.mark.parametrize(
    ("backbone", "config", "query"),
    [
        ("resnet50", {}, ("layer2.3.relu", "layer3.5.relu", "layer4.2.relu")),
        ("resnet50", {"layout": "standard"}, ("layer2.3.relu", "layer3.5.relu", "layer4.2.relu")),
        ("vgg16", {}, ("layer2", "layer3", "layer4")),
        ("efficientnet-lite0", {}, ("blocks.4", "blocks.10", "blocks.15")),
    ],
)
def test_taps_are_the_ends_of_stages_two_to_four(
    backbone: str, config: dict[str, Any], query: tuple[str, ...]
) -> None:
    method = load_undrawn("pfenet", backbone=backbone, weights="random", **config)
    assert method.taps.query == query
    assert method.taps.support == query[:2]
    assert method.provenance.layout == {
        "resnet50": config.get("layout", "deepstem"),
        "vgg16": "batchnorm",
    }.get(backbone, "standard")


def test_scales_come_from_text_too() -> None:
    config = PFENet.Config
    assert config(ppm_scales="6, 3,0.5").ppm_scales == config(ppm_scales=(6, 3, 0.5)).ppm_scales
    for wrong in ("", "3,0", "2.5", "a", (-1,)):
        with pytest.raises(UsageError, match="ppm_scales"):
            fssbench.load_method("pfenet", backbone="vgg16", weights="random", ppm_scales=wrong)


def test_a_backbone_that_cannot_be_run_from_a_tap_on_is_told() -> None:
    method = fssbench.load_method("pfenet", backbone="vgg16", weights="random", layout="standard")
    with pytest.raises(UsageError, match=r"'vgg16'.*cannot be run from a tap on"):
        method.predict(torch.rand(1, 3, 65, 65), torch.rand(1, 1, 3, 65, 65), torch.ones(1, 1, 65, 65))


@torch.no_grad()
def test_the_prior_runs_the_last_stage_on_the_object_alone(tiny: Any, episodes: Any) -> None:
    method = made(tiny).eval()
    query, support, mask = episodes(shots=2, size=97)
    cells, objects = method.read(query, support)
    for k in range(2):
        middle = objects["3-1.relu"][:, k]
        alone = functional.interpolate(
            mask[:, k : k + 1], middle.shape[-2:], mode="bilinear", align_corners=True
        )
        backbone = tiny()
        deep = backbone.blocks["4-1"](backbone.blocks["4-0"](middle * alone).relu()).relu()
        deep = deep * functional.interpolate(
            mask[:, k : k + 1], deep.shape[-2:], mode="bilinear", align_corners=True
        )
        best = functional.cosine_similarity(
            deep.flatten(2).unsqueeze(3), cells["4-1.relu"].flatten(2).unsqueeze(2), dim=1
        ).amax(dim=1)
        scaled = (best - best.min()) / (best.max() - best.min())
        scaled = scaled.view(1, 1, *cells["4-1.relu"].shape[-2:])
        expected = functional.interpolate(scaled, middle.shape[-2:], mode="bilinear", align_corners=True)
        assert torch.allclose(method._priors(cells, objects, mask)[:, k], expected[:, 0], atol=1e-4)


def test_the_authors_file_loads_backbone_included(tmp_path: Path) -> None:
    """`train_epoch_*.pth`: a dict with epoch and optimizer, DataParallel's prefix, batch norm counters."""
    first = fssbench.load_method("pfenet", backbone="vgg16", weights="random", seed=1)
    state = {
        f"module.{k.removeprefix('backbone.').removeprefix('enrich.')}": v
        for k, v in first.state_dict().items()
    }
    assert {k.split(".")[1] for k in state} >= {"layer0", "layer4", "down_query", "init_merge", "cls", "res1"}
    state["module.layer0.1.num_batches_tracked"] = torch.tensor(7)
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {"state": {}}}, tmp_path / "train_epoch_3.pth")
    again = load_undrawn("pfenet", backbone="vgg16", checkpoint=tmp_path / "train_epoch_3.pth", seed=2)
    assert all(torch.equal(v, first.state_dict()[k]) for k, v in again.state_dict().items())
    assert again.provenance.weights == "reference"
    assert not again.provenance.untrained


class SmallPFENet(PFENet):
    """With scales that fit small inputs."""

    class Config(PFENet.Config):  # type: ignore[name-defined, misc]
        ppm_scales: tuple[float, ...] = (6, 3)


def test_a_smaller_one_keeps_the_contract() -> None:
    assert not [r for r in check_on_small_backbone(SmallPFENet) if r.status == "fail"]
