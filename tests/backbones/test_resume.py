"""Running a backbone on from a tap: the same as running it whole, where the features are the same."""

from __future__ import annotations

import pytest
import torch
from shared_networks import share_network

from fssbench.contracts.backbones import Backbone
from fssbench.errors import UsageError

RESUMABLE = [
    ("resnet50", "standard", "layer3.5.relu", ("layer4.0", "layer4.2.relu")),
    ("resnet50", "standard", "layer3.4", ("layer3.4.relu", "layer3.5")),
    ("resnet50", "deepstem", "layer3.5.relu", ("layer4.1", "layer4.2.relu")),
    ("vgg16", "batchnorm", "layer3", ("layer4",)),
    ("efficientnet-lite0", "standard", "blocks.10", ("blocks.11", "blocks.15")),
]


@pytest.fixture(params=RESUMABLE, ids=lambda case: "-".join(case[:3]))
def case(request: pytest.FixtureRequest) -> tuple[Backbone, str, tuple[str, ...]]:
    name, layout, after, taps = request.param
    return share_network(name, layout), after, taps


@torch.no_grad()
def test_from_a_tap_on_equals_the_whole(case: tuple[Backbone, str, tuple[str, ...]]) -> None:
    backbone, after, taps = case
    whole = backbone(torch.randn(2, 3, 65, 70), (after, *taps))
    given = whole[after].clone()
    rest = backbone.resume(given, after, taps)
    assert list(rest) == list(taps)
    assert all(torch.equal(rest[tap], whole[tap]) for tap in taps)
    assert torch.equal(given, whole[after])


@torch.no_grad()
def test_other_features_give_another_result(case: tuple[Backbone, str, tuple[str, ...]]) -> None:
    backbone, after, taps = case
    features = backbone(torch.randn(1, 3, 65, 65), (after,))[after]
    assert not torch.equal(
        backbone.resume(features / 2, after, taps)[taps[-1]],
        backbone.resume(features, after, taps)[taps[-1]],
    )


def test_only_deeper_taps_can_be_asked_for() -> None:
    backbone = share_network("efficientnet-lite0")
    features = torch.zeros(1, 112, 4, 4)
    for taps in (("blocks.10",), ("blocks.11", "blocks.3"), ()):
        with pytest.raises(UsageError, match=r"after blocks\.10"):
            backbone.resume(features, "blocks.10", taps)
    with pytest.raises(UsageError, match=r"blocks\.99"):
        backbone.resume(features, "blocks.10", ("blocks.99",))


def test_a_backbone_that_cannot_says_so() -> None:
    with pytest.raises(UsageError, match=r"'vgg16'.*'panet'.*--backbone resnet50"):
        share_network("vgg16", "panet").resume(torch.zeros(1, 512, 4, 4), "features", ("features",))
