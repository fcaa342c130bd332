"""Taps of the stages that methods read: each block of a network once, whatever stands beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fssbench.methods.layers.feature_maps import list_stages, pick_activated, pick_normed

import fssbench
from fssbench.api import DataError
from fssbench.loading.backbones import build_backbone

if TYPE_CHECKING:
    from fssbench.api import Backbone


@pytest.fixture(scope="module")
def transformer() -> Backbone:
    pytest.importorskip("timm", reason="needs timm, from the extra `timm`")
    return build_backbone("timm:test_vit", seed=3)


@pytest.fixture(scope="module")
def convolutional() -> Backbone:
    return build_backbone("resnet50")


def test_a_stage_lists_what_the_backbone_counts_to_it(transformer: Backbone, convolutional: Backbone) -> None:
    for backbone in (transformer, convolutional):
        stages = [[tap.name for tap in stage] for stage in list_stages(backbone, 4)]
        assert stages == [list(backbone.stage(number)) for number in (1, 2, 3, 4)]


def test_a_transformers_block_is_listed_once(transformer: Backbone) -> None:
    names = [tap.name for stage in list_stages(transformer, 4) for tap in stage]
    assert any(name.endswith(".norm") for name in transformer.taps)  # else nothing is tested
    assert names == [name for name in transformer.taps if not name.endswith(".norm")]


def test_too_few_stages_are_named(convolutional: Backbone) -> None:
    with pytest.raises(DataError, match=r"taps in 4 stages; this method needs 5"):
        list_stages(convolutional, 5)


def test_the_form_of_a_tap_is_picked_where_the_backbone_has_it(
    transformer: Backbone, convolutional: Backbone
) -> None:
    block = list_stages(transformer, 1)[-1][-1].name
    assert pick_normed(transformer, block) == f"{block}.norm"
    assert pick_activated(transformer, block) == block
    layer = list_stages(convolutional, 1)[-1][-1].name
    assert pick_normed(convolutional, layer) == layer
    assert pick_activated(convolutional, layer) == f"{layer}.relu"


@pytest.mark.parametrize("name", ["hsnet", "panet", "pmnet"])
def test_methods_read_no_normed_tap_by_themselves(name: str) -> None:
    pytest.importorskip("timm", reason="needs timm, from the extra `timm`")
    taps = fssbench.load_method(name, backbone="timm:test_vit", weights="random").taps
    assert not [tap for tap in (*taps.query, *taps.support) if tap.endswith(".norm")]
    assert len(set(taps.query)) == len(taps.query)
