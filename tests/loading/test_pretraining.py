"""What networks saw in their pretraining, and networks that a method uses beside its backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from fssbench.api import Companion, DataError, ImageMethod, MethodCard, MethodConfig, PublishedWeights
from fssbench.contracts.methods import collect_method_weights
from fssbench.contracts.provenance import BROUGHT
from fssbench.loading.backbones import build_backbone
from fssbench.loading.load import load_method
from fssbench.loading.pretraining import (
    NO_PRETRAINING,
    NOT_STATED,
    OWN_WEIGHTS,
    UNKNOWN_CHECKPOINT,
    UNKNOWN_FILE,
    describe_pretraining,
    list_pretraining,
)
from fssbench.runs.early_marks import make_method_marks
from fssbench.runs.identity import make_context, make_identity

NETWORK = "efficientnet-lite0"


class HelperConfig(MethodConfig):
    """Settings of `WithHelper`."""

    helper_weights: str = ""
    """Weights of the helper."""


class WithHelper(ImageMethod):
    """A method with a backbone and a further network."""

    card: ClassVar[MethodCard] = MethodCard(
        name="with-helper",
        title="With helper",
        paper="none",
        year=2026,
        kind="other",
        backbone=NETWORK,
        size=32,
        trained=False,
        reference="none",
        licence="none",
        training="none",
    )
    Config: ClassVar[type[MethodConfig]] = HelperConfig
    needs_backbone: ClassVar[bool] = True
    config: HelperConfig

    @classmethod
    def list_companions(cls, config: MethodConfig) -> Mapping[str, Companion]:
        assert isinstance(config, HelperConfig)
        return {"helper": Companion(NETWORK, config.helper_weights, "helper_weights")}

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        tap = next(iter(self.companions["helper"].taps))
        maps = self.companions["helper"](query, [tap])[tap]
        return maps[:, :2]


class WithEncoder(WithHelper):
    """A method that brings an encoder, whose weights do not depend on the seed."""

    card: ClassVar[MethodCard] = WithHelper.card.changed(name="with-encoder")
    needs_backbone: ClassVar[bool] = False

    def __init__(self, config: MethodConfig, backbone: Any = None) -> None:
        super().__init__(config, backbone)
        self.encoder = nn.Conv2d(3, 2, 1)
        nn.init.ones_(self.encoder.weight)
        nn.init.zeros_(self.encoder.bias)

    @classmethod
    def list_companions(cls, config: MethodConfig) -> Mapping[str, Companion]:
        return {}


@pytest.fixture(scope="module")
def method() -> WithHelper:
    loaded = load_method(WithHelper, weights="random")
    assert isinstance(loaded, WithHelper)
    return loaded


def test_a_companion_is_built_as_a_backbone_and_has_no_part_in_the_methods_weights(
    method: WithHelper,
) -> None:
    assert method.companions["helper"].weights == "random"
    assert not any(parameter.requires_grad for parameter in method.parameters())
    assert collect_method_weights(method) == {}
    assert (method.provenance.learnable, method.provenance.parameters) == (
        0,
        sum(
            p.numel()
            for network in (method.backbone, method.companions["helper"])
            for p in network.parameters()
        ),
    )
    assert any(name.startswith("helper/") for name in method.provenance.sources)
    with torch.no_grad():
        assert method.predict(
            torch.zeros(1, 3, 32, 32), torch.zeros(1, 1, 3, 32, 32), torch.ones(1, 1, 32, 32)
        ).shape == (1, 2, 32, 32)


def test_the_identity_names_a_companion_and_is_as_before_without_one(method: WithHelper, null: Any) -> None:
    plan = null.plan(3)
    given = {"data": "d", "reader": "r", "distributions": {}, "absent": "zero", "score_size": "input"}
    block = make_identity(plan, method, device="cpu", **given).as_stored()
    helper = block["companions"]["helper"]
    assert helper["backbone"] == NETWORK
    assert helper["weights_sha256"] == method.companions["helper"].weights_sha256
    assert helper["source_sha256"] == method.provenance.backbone_source_sha256
    assert "companions" not in make_identity(plan, null.method(), device="cpu", **given).as_stored()
    context = make_context(method, plan)
    assert context.companion_weights == {"helper": "random"}
    assert context.pretraining == {"backbone": NO_PRETRAINING, "helper": NO_PRETRAINING}


@pytest.mark.parametrize(
    ("backbone", "helper", "marked"), [("imagenet", "random", True), ("imagenet", "", False)]
)
def test_weights_of_a_companion_are_chosen_and_marked(backbone: str, helper: str, marked: bool) -> None:
    loaded = load_method(WithHelper, weights=backbone, helper_weights=helper)
    marks = [mark for mark in make_method_marks(loaded) if mark.kind == "random backbone"]
    assert [mark.detail for mark in marks] == (["helper"] if marked else [])
    assert list_pretraining(loaded) == {
        "backbone": "ImageNet-1K",
        "helper": NO_PRETRAINING if marked else "ImageNet-1K",
    }


def test_a_missing_file_of_a_companion_is_named() -> None:
    with pytest.raises(DataError, match="absent.pth"):
        load_method(WithHelper, weights="random", helper_weights="absent.pth")


@pytest.mark.parametrize(
    ("weights", "pretraining"),
    [
        ("random", NO_PRETRAINING),
        (BROUGHT, UNKNOWN_CHECKPOINT),
        ("file:0123456789ab", UNKNOWN_FILE),
        ("file:{own}", "ImageNet-1K"),
        ("imagenet", "ImageNet-1K"),
        ("further", "JFT-300M"),
        ("unheard-of", NOT_STATED),
    ],
)
def test_pretraining_follows_the_weights_and_not_the_network(weights: str, pretraining: str) -> None:
    network = build_backbone(NETWORK, weights="random")
    (record,) = network.card.weights
    further = PublishedWeights(
        **record.model_dump() | {"id": "further", "sha256": "f" * 64, "pretraining": "JFT-300M"}
    )
    # on the instance: the class belongs to all tests
    network.__dict__["card"] = network.card.changed(weights=(record, further))
    network.weights = weights.format(own=record.sha256[:12])
    assert describe_pretraining(network) == pretraining


def test_an_encoder_that_a_method_brings_is_not_stated_unless_its_card_says_so() -> None:
    loaded = load_method(WithEncoder)
    assert list_pretraining(loaded) == {OWN_WEIGHTS: NOT_STATED}
    type(loaded).card, usual = loaded.card.changed(pretraining="WIT-400M"), loaded.card
    try:
        assert list_pretraining(loaded) == {OWN_WEIGHTS: "WIT-400M"}
    finally:
        type(loaded).card = usual


def test_methods_without_networks_have_none() -> None:
    assert list_pretraining(load_method("copy-mask")) == {}
