"""Short names: their networks, repositories and licences are those that timm publishes."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

from fssbench.backbones.vit.network import TimmBackbone
from fssbench.plugins.registry import BACKBONES

timm = pytest.importorskip("timm")

NAMES = sorted(
    point.name
    for point in entry_points(group="fssbench.backbones")
    if point.value.startswith("fssbench.backbones.vit.models:")
)
MEANS = {"clip": 0.48145466, "dinov2": 0.485, "dinov3": 0.485, "sam": 0.485, "vit": 0.5}


def test_all_names_are_there() -> None:
    assert len(NAMES) == 16


@pytest.mark.parametrize("name", NAMES)
def test_card_agrees_with_timm(name: str) -> None:
    cls: type[TimmBackbone] = BACKBONES.get(name)
    (weights,) = cls.card.weights
    assert cls.card.name == name
    network = cls.timm_name.partition(".")[0]
    config = timm.models.get_pretrained_cfg(f"{network}.{weights.id}")
    assert config.hf_hub_id == weights.key
    stated = {"dinov3-license": "DINOv3", "apache-2.0": "Apache-2.0"}[config.license]
    assert stated in weights.licence
    assert config.mean[0] == MEANS[name.partition("-")[0]]
    assert cls.card.pretraining


def test_positions_follow_the_authors_only_where_timm_differs() -> None:
    hub = {name for name in NAMES if BACKBONES.get(name).positions == "hub"}
    assert hub == {"dinov2-b", "dinov2-l", "dinov2-s", "dinov3-b", "dinov3-l", "dinov3-s"}
    for name in hub:
        assert any("positions=hub" in note for note in BACKBONES.get(name).card.notes)
