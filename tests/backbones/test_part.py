"""A part of a backbone gives what the backbone gives."""

from __future__ import annotations

import pytest
import torch
from shared_networks import share_network

from fssbench.errors import UsageError

CASES = [
    ("resnet50", "standard", "layer1.2", "layer3.5"),
    ("resnet50", "ssp", "layer1.2.relu", "layer3.5"),
    ("resnet50", "deepstem", "layer2.1", "layer4.2.relu"),
    ("vgg16", "standard", "features.14", "features.28"),
    ("efficientnet-lite0", "standard", "blocks.2", "blocks.10"),
]


@torch.no_grad()
@pytest.mark.parametrize(("name", "layout", "after", "last"), CASES)
def test_a_part_gives_what_the_backbone_gives(name: str, layout: str, after: str, last: str) -> None:
    backbone = share_network(name, layout)
    out = backbone(torch.randn(1, 3, 65, 65), [after, last])
    before = out[after].clone()
    part = backbone.part(after, last)
    assert torch.allclose(part(out[after]), out[last], atol=1e-5)
    assert torch.equal(out[after], before)
    assert not part.training
    own = {p.data_ptr() for p in backbone.parameters()}
    assert {p.data_ptr() for p in part.parameters()} <= own
    assert 0 < sum(p.numel() for p in part.parameters()) < sum(p.numel() for p in backbone.parameters())


def test_stages_of_a_resnet_keep_their_names() -> None:
    backbone = share_network("resnet50", "ssp")
    names = set(backbone.part("layer1.2", "layer3.5").state_dict())
    assert names == {k for k in backbone.state_dict() if k.startswith(("layer2.", "layer3."))}


def test_what_cannot_be_a_part_is_told() -> None:
    backbone = share_network("resnet50", "ssp")
    with pytest.raises(UsageError, match=r"layer1\.2 after layer3\.5"):
        backbone.part("layer3.5", "layer1.2")
    with pytest.raises(UsageError, match="cannot be taken apart"):
        share_network("vgg16", "panet").part("features", "features")
