"""DeepLab's ResNet and VGG: strides, dilations, torchvision's weights, and the part that can be tuned."""

from __future__ import annotations

import pytest
import torch
from shared_networks import share_network
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet50
from undrawn_weights import build_undrawn

from fssbench.loading.backbones import build_backbone


@pytest.fixture(autouse=True)
def _no_grad() -> object:
    with torch.no_grad():
        yield


def test_resnet_takes_torchvision_s_weights_and_strides_in_first_convolutions() -> None:
    theirs = resnet50(weights=None).eval()
    backbone = build_undrawn("resnet50", "deeplab")
    backbone.load(theirs.state_dict(), "file")
    places = [
        (name, m.stride[0], m.dilation[0])
        for name, m in backbone.named_modules()
        if isinstance(m, nn.Conv2d) and name != "conv1" and (m.stride[0], m.dilation[0]) != (1, 1)
    ]
    assert places == [
        ("layer2.0.conv1", 2, 1),
        ("layer2.0.downsample.0", 2, 1),
        *((f"layer3.{i}.conv2", 1, 2) for i in range(6)),
    ]
    assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in backbone.state_dict().items())
    images = torch.randn(1, 3, 72, 72)  # 36 cells: the pool rounds up to 19
    stem = functional.relu(theirs.bn1(theirs.conv1(images)))
    expected = theirs.layer1(functional.max_pool2d(stem, 3, 2, 1, ceil_mode=True))
    assert expected.shape[-1] == 19
    assert torch.allclose(backbone(images, ["layer1.2.relu"])["layer1.2.relu"], expected, atol=1e-5)


@pytest.mark.parametrize("side", [65, 97])
def test_output_stride_is_eight(side: int) -> None:
    for name in ("resnet50", "vgg16"):
        backbone = share_network(name, "deeplab")
        tap = list(backbone.taps.values())[-1]
        assert tap.stride == 8
        assert backbone(torch.zeros(1, 3, side, side), [tap.name])[tap.name].shape[-1] == (side - 1) // 8 + 1


def test_vgg_is_its_layers_one_after_the_other() -> None:
    backbone = build_backbone("vgg16", layout="deeplab", seed=3)
    state = list(backbone.state_dict().values())
    x = images = torch.randn(1, 3, 65, 65)
    result: dict[str, Tensor] = {}
    weights = iter(zip(state[::2], state[1::2], strict=True))
    for block, (count, stride) in enumerate(((2, 2), (2, 2), (3, 2), (3, 1), (3, 1)), start=1):
        for _ in range(count):
            x = functional.relu(functional.conv2d(x, *next(weights), padding=1))
        x = result[f"features_{block}"] = functional.max_pool2d(x, 3, stride, 1)
    ours = backbone(images, list(result))
    assert all(torch.allclose(ours[k], v, atol=1e-5) for k, v in result.items())
    tail = backbone.part("features_2", "features_5")
    assert torch.allclose(tail(result["features_2"]), x, atol=1e-5)


def test_vgg_takes_torchvision_s_names_by_order() -> None:
    from torchvision.models.vgg import cfgs, make_layers

    layers = make_layers(cfgs["D"])
    backbone = build_backbone("vgg16", layout="deeplab")
    published = {f"features.{k}": v for k, v in layers.state_dict().items()}
    backbone.load({**published, "classifier.0.bias": torch.zeros(1)}, "file")
    pairs = zip(backbone.state_dict().values(), layers.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
