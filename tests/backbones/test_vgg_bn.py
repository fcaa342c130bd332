"""VGG-16 with batch norm against torchvision's, cut at its pools."""

from __future__ import annotations

import pytest
import torch
from shared_networks import share_network
from torch import Tensor, nn

from fssbench.loading.backbones import build_backbone


@torch.no_grad()
def test_equals_torchvision_after_each_pool() -> None:
    from torchvision.models.vgg import cfgs, make_layers

    backbone = build_backbone("vgg16", layout="batchnorm", seed=1)
    theirs = make_layers(cfgs["D"], batch_norm=True).eval()
    for layer in theirs:
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = True
    torch.manual_seed(0)
    for tensor in theirs.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) * 0.1)
    state = {f"features.{k}": v for k, v in theirs.state_dict().items()}
    backbone.load({**state, "classifier.0.weight": torch.zeros(1)}, "file")
    seen: dict[str, Tensor] = {}
    for index, name in ((6, "layer0"), (13, "layer1"), (23, "layer2"), (33, "layer3"), (42, "layer4")):
        theirs[index].register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out.clone()}))
    images = torch.randn(1, 3, 65, 71)
    theirs(images)
    ours = backbone(images, list(backbone.taps))
    assert list(ours) == list(seen)
    assert all(torch.equal(ours[k], seen[k]) for k in seen)


@pytest.mark.parametrize(("side", "cells"), [(97, 7), (89, 6), (64, 4)])
def test_the_last_two_parts_share_stride_sixteen_rounded_up(side: int, cells: int) -> None:
    features = share_network("vgg16", "batchnorm")(torch.zeros(1, 3, side, side), ("layer3", "layer4"))
    assert {f.shape[-1] for f in features.values()} == {cells}


def test_names_are_those_of_the_authors_checkpoints() -> None:
    backbone = share_network("vgg16", "batchnorm")
    own = list(backbone.state_dict())
    assert own[:2] == ["layer0.0.weight", "layer0.0.bias"]
    assert own[-1] == "layer4.7.running_var"
    assert list(backbone.own_names(backbone.state_dict())) == own
