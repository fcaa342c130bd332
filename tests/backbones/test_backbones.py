"""Taps against the reference's statistics, against torchvision and timm, and the frozen contract."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from drawn_values import read_values
from hypothesis import HealthCheck, given, settings, strategies as st
from places import load_golden_recipe
from shared_networks import share_network
from torch import Tensor, nn
from undrawn_weights import build_undrawn, nothing_hashed

from fssbench.backbones.efficientnet import EfficientNetLite0
from fssbench.contracts.backbones import Backbone, BackboneCard
from fssbench.errors import DataError, UsageError
from fssbench.files.state_dicts import read_state_dict
from fssbench.images.reading import MEAN, STD
from fssbench.loading.backbone_weights import (
    RANDOM,
    choose_default_weights as default_weights,
    find_published_weights as find_weights,
    list_weight_places,
)
from fssbench.loading.backbones import build_backbone
from fssbench.plugins.registry import BACKBONES

CARDS: dict[str, BackboneCard] = {
    name: BACKBONES.get(name).card
    for name in BACKBONES.names()
    # networks of timm, SAM with its decoder among them, have tests of their own
    if not {"vit", "sam"} & {*BACKBONES.plugin(name).origin.split(".")}
}
ALL = [(name, layout) for name, card in CARDS.items() for layout in card.layouts]
LARGER = {(name, layout) for name, layout in ALL if name == "resnet101" and layout != "standard"}
PARAMETERS = {
    "resnet50": 25_557_032 - 2_049_000,  # torchvision's count less the classifier
    "resnet101": 44_549_160 - 2_049_000,
    "resnet50-deepstem": 34_448_842 - 10_817_034,  # PFENet's total less its head
    "resnet101-deepstem": 34_448_842 - 10_817_034 + 44_549_160 - 25_557_032,
    # CyCTR's and IPMT's totals less their heads; there the 53,504 and 105,728 scales and shifts of norms are buffers
    "resnet50-cyctr": 31_034_996 - 7_456_692 + 53_504,
    "resnet101-cyctr": 85_215_307 - 42_697_099 + 105_728,
    "resnet50-ssp": 8_667_072,
    "resnet101-ssp": 8_667_072 + 44_549_160 - 25_557_032,
    "resnet50-deeplab": 19_629_890 - 11_086_594,  # PMMs' total less its head
    "resnet101-deeplab": 19_629_890 - 11_086_594 + 44_549_160 - 25_557_032,
    "vgg16": 14_714_688,
    "vgg16-batchnorm": 14_714_688 + 2 * 4_224,
    "efficientnet-lite0": 4_652_008 - 1_281_000 - 320 * 1280 - 2 * 1280,
}


@pytest.fixture(autouse=True)
def _no_grad() -> object:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module", params=ALL, ids=lambda p: "-".join(p))
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return share_network(*request.param)


def recipe_of(shared: Path) -> ModuleType:
    return load_golden_recipe(shared)


def filled(recipe: ModuleType, backbone: Backbone, prefix: str, salt: str = "") -> Backbone:
    state = {
        k: read_values(recipe.values, prefix + k, tuple(v.shape), salt)
        for k, v in backbone.state_dict().items()
    }
    with nothing_hashed():
        backbone.load(state, "reference")
    return backbone


HSNET_TAPS = {
    "resnet50": [f"layer{s}.{i}" for s, n in ((2, 4), (3, 6), (4, 3)) for i in range(n)],
    "resnet101": [f"layer{s}.{i}" for s, n in ((2, 4), (3, 23), (4, 3)) for i in range(n)],
    "vgg16": [f"features.{i}" for i in (17, 19, 21, 24, 26, 28, 30)],
}


@pytest.mark.parametrize("name", list(HSNET_TAPS))
def test_hsnet_taps_have_the_references_mean_and_deviation(shared: Path, name: str) -> None:
    files = sorted((shared / "golden").glob(f"hsnet_{name}_*.npz"))
    if not files:
        pytest.skip(f"no golden file of HSNet on {name}")
    golden, recipe = np.load(files[0]), recipe_of(shared)
    size, tag = int(golden["size"]), str(golden["tag"])
    backbone = filled(recipe, build_undrawn(name), "backbone.", str(golden["salt"]))
    taps = [*backbone.stage(2), *backbone.stage(3), *backbone.stage(4)]
    assert taps == HSNET_TAPS[name]
    features = backbone(recipe.image(f"{tag}/query", size)[None], taps)
    np.testing.assert_allclose(
        [f.mean() for f in features.values()], golden["feat_mean"], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose([f.std() for f in features.values()], golden["feat_std"], rtol=1e-4)


@pytest.mark.parametrize("variant", ["released", "onehead"])
def test_all_bottlenecks_have_pmnets_largest_values(shared: Path, variant: str) -> None:
    golden = np.load(shared / "golden" / f"pmnet_{variant}_resnet50_384.npz")
    recipe = recipe_of(shared)
    backbone = filled(recipe, build_undrawn("resnet50"), "feature_extractor.")
    taps = [tap for tap in backbone.taps if not tap.endswith(".relu")]
    assert len(taps) == 16
    features = backbone(recipe.image(f"{golden['tag']}/query", int(golden["size"]))[None], taps)
    largest = [f.abs().max() for f in features.values()]
    np.testing.assert_allclose(largest, golden["feat_absmax"], rtol=1e-4)


def test_resnet_equals_torchvision_to_the_bit() -> None:
    from torchvision.models import resnet50

    backbone, theirs = build_backbone("resnet50", seed=3), resnet50(weights=None).eval()
    missing = theirs.load_state_dict(backbone.state_dict(), strict=False)
    assert {k.split(".")[-1] for k in missing.missing_keys} <= {"weight", "bias", "num_batches_tracked"}
    assert [k for k in missing.missing_keys if "num_batches" not in k] == ["fc.weight", "fc.bias"]
    seen: list[Tensor] = []
    theirs.layer4.register_forward_hook(lambda _m, _i, out: seen.append(out))
    images = torch.randn(2, 3, 65, 70)
    theirs(images)
    out = backbone(images, ["layer4.2", "layer4.2.relu"])
    assert torch.equal(out["layer4.2.relu"], seen[0])
    assert torch.equal(out["layer4.2"].relu(), seen[0])
    assert (out["layer4.2"] < 0).any()


def test_vgg_equals_torchvision_before_each_relu() -> None:
    from torchvision.models.vgg import cfgs, make_layers

    theirs, backbone = make_layers(cfgs["D"]), share_network("vgg16")
    theirs.load_state_dict({k.removeprefix("features."): v for k, v in backbone.state_dict().items()})
    x = images = torch.randn(1, 3, 64, 64)
    out = backbone(images, list(backbone.taps))
    for i, layer in enumerate(theirs):
        x = layer(x.clone())
        if f"features.{i}" in out:
            assert torch.equal(out[f"features.{i}"], x)
    assert len(out) == 13 + 5


def test_panet_layout_takes_imagenet_weights_by_order() -> None:
    standard, panet = build_backbone("vgg16", seed=1), build_backbone("vgg16", layout="panet", seed=2)
    shuffled = dict(sorted(standard.state_dict().items(), key=lambda item: hash(item[0])))
    panet.load(shuffled | {"classifier.0.weight": torch.zeros(1)}, "v1")
    pairs = zip(standard.state_dict().values(), panet.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert list(panet.state_dict())[:4] == [
        "features.0.0.weight",
        "features.0.0.bias",
        "features.0.2.weight",
        "features.0.2.bias",
    ]
    # the first two blocks see the same input; they differ only from the first pool on
    images = torch.randn(1, 3, 48, 48)
    ours = panet.features[0](images)  # type: ignore[index]
    assert torch.equal(ours, standard(images, ["features.2"])["features.2"].relu())


@pytest.mark.parametrize(("side", "cells"), [(97, 13), (64, 8)])
def test_panet_layout_has_stride_eight_and_signed_features(side: int, cells: int) -> None:
    out = share_network("vgg16", "panet")(torch.randn(1, 3, side, side), ["features"])["features"]
    assert out.shape == (1, 512, cells, cells)
    assert (out < 0).any()
    assert (out > 0).any()


def test_panet_layout_loads_its_own_names() -> None:
    first, second = (
        build_backbone("vgg16", layout="panet", seed=1),
        build_backbone("vgg16", layout="panet", seed=2),
    )
    second.load(first.state_dict(), "reference")
    assert second.weights_sha256 == first.weights_sha256


def _lite0_weights() -> Path:
    result = [p for p in list_weight_places(find_weights("efficientnet-lite0", "imagenet")) if p.is_file()]
    if not result:
        pytest.skip("needs the extra `mini`")
    return result[0]


def test_efficientnet_equals_timm_on_the_packages_checkpoint() -> None:
    """timm's port of the TensorFlow network is the second author: padding, epsilon, order of layers."""
    timm = pytest.importorskip("timm")
    state = read_state_dict(_lite0_weights())
    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    names = [k for k in theirs.state_dict() if "num_batches" not in k]
    values = [v for k, v in state.items() if "num_batches" not in k]
    theirs.load_state_dict(dict(zip(names, values, strict=True)), strict=False)
    seen: list[Tensor] = []
    for stage in theirs.blocks:
        for block in stage:
            block.register_forward_hook(lambda _m, _i, out: seen.append(out))
    backbone = build_backbone("efficientnet-lite0", weights="imagenet")
    for side in (96, 101):
        seen.clear()
        image = torch.rand(1, 3, side, side)
        theirs(image * 2 - 1)
        ours = backbone(
            (image - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1), list(backbone.taps)
        )
        assert len(seen) == len(ours) == 16
        for mine, other in zip(ours.values(), seen, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def test_efficientnet_stages_are_the_documented_ones() -> None:
    backbone = share_network("efficientnet-lite0")
    widths = {s: [backbone.taps[t].channels for t in backbone.stage(s)] for s in (1, 2, 3, 4)}
    assert widths == {1: [24] * 2, 2: [40] * 2, 3: [80] * 3 + [112] * 3, 4: [192] * 4 + [320]}


def test_taps_tell_the_truth_about_channels_stride_and_order(backbone: Backbone) -> None:
    odd = int(backbone.layout == "deeplab")  # whose pool rounds up: made for sides of 8k + 1
    height, width = 64 + odd, 32 + odd
    out = backbone(torch.randn(2, 3, height, width), list(backbone.taps))
    assert list(out) == list(backbone.taps)
    for name, tap in backbone.taps.items():
        assert tap.name == name
        sides = [(side - odd) // tap.stride + odd for side in (height, width)]
        assert out[name].shape == (2, tap.channels, *sides)
    strides = [tap.stride for tap in backbone.taps.values()]
    assert strides == sorted(strides)


def test_one_tap_alone_equals_the_same_tap_among_all(backbone: Backbone) -> None:
    images = torch.randn(1, 3, 64, 64)
    names = list(backbone.taps)
    together = backbone(images, names)
    for name in names[:: max(1, len(names) // 5)]:
        alone = backbone(images, [name])
        assert list(alone) == [name]
        assert torch.equal(alone[name], together[name])


def test_only_as_deep_as_the_deepest_tap_is_run() -> None:
    backbone = build_backbone("resnet50")
    ran: list[str] = []
    for name in ("layer1", "layer2", "layer3", "layer4"):
        for block in backbone.get_submodule(name).children():
            block.conv1.register_forward_hook(lambda _m, _i, _o, name=name: ran.append(name))  # type: ignore[union-attr, operator]
    backbone(torch.randn(1, 3, 32, 32), ["layer2.1"])
    assert ran == ["layer1"] * 3 + ["layer2"] * 2


def test_no_tap_is_changed_by_what_runs_after_it(backbone: Backbone) -> None:
    images = torch.randn(1, 3, 64, 64)
    before = images.clone()
    taps = list(backbone.taps)
    deep = backbone(images, taps)
    assert torch.equal(images, before)
    assert torch.equal(deep[taps[0]], backbone(images, taps[:1])[taps[0]])


def test_it_is_frozen_whatever_is_asked(backbone: Backbone) -> None:
    nn.Sequential(backbone).train()
    assert not any(module.training for module in backbone.modules())
    assert not any(p.requires_grad for p in backbone.parameters())
    state = backbone.weights_sha256
    backbone(torch.randn(2, 3, 32, 32), list(backbone.taps))
    backbone.record(backbone.weights)
    assert backbone.weights_sha256 == state


def test_parameters_are_the_networks(backbone: Backbone) -> None:
    expected = PARAMETERS.get(f"{backbone.name}-{backbone.layout}", PARAMETERS[backbone.name])
    assert sum(p.numel() for p in backbone.parameters()) == expected


def test_random_features_neither_vanish_nor_explode(backbone: Backbone) -> None:
    out = backbone(torch.randn(1, 3, 64, 64), list(backbone.taps))
    for name, feature in out.items():
        assert 0.3 < feature.std() < 30, name


def test_random_weights_depend_on_the_seed_alone(backbone: Backbone) -> None:
    if (backbone.name, backbone.layout) in LARGER:
        pytest.skip("drawn by the code of resnet50 in this layout")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    again = build_backbone(backbone.name, layout=backbone.layout, seed=0)
    assert torch.equal(before, torch.get_rng_state())
    assert again.weights_sha256 == backbone.weights_sha256
    assert (
        build_backbone(backbone.name, layout=backbone.layout, seed=1).weights_sha256 != again.weights_sha256
    )
    assert (again.weights, again.name, again.layout) == ("random", backbone.name, backbone.layout)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(33, 90), st.integers(33, 90))
def test_same_padding_gives_the_ceiling_of_every_stride(height: int, width: int) -> None:
    backbone = _lite0()
    out = backbone(torch.zeros(1, 3, height, width), list(backbone.taps))
    for name, tap in backbone.taps.items():
        assert out[name].shape[-2:] == (-(-height // tap.stride), -(-width // tap.stride))


def _lite0(cache: list[Backbone] = []) -> Backbone:  # noqa: B006
    if not cache:
        network = EfficientNetLite0()
        network.randomise(0)
        cache.append(network)
    return cache[0]


@pytest.mark.parametrize("name", list(CARDS))
def test_a_saved_state_dict_comes_back_as_a_file(name: str, tmp_path: Path) -> None:
    first = build_backbone(name, seed=5)
    path = tmp_path / "mine.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in first.state_dict().items()}}, path)
    second = build_backbone(name, weights=str(path))
    assert second.weights_sha256 == first.weights_sha256
    assert re.fullmatch(r"file:[0-9a-f]{12}", second.weights)


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "vgg.pth"
    torch.save(share_network("vgg16").state_dict(), path)
    with pytest.raises(
        DataError, match=r"backbone 'resnet50'.*missing: conv1.weight.*unknown: features.0.weight"
    ):
        build_backbone("resnet50", weights=str(path))


def test_unknown_names_have_neighbours() -> None:
    with pytest.raises(UsageError, match="Did you mean resnet50"):
        build_backbone("resnet5")
    with pytest.raises(UsageError, match="unknown layout of backbone resnet50 'panet'"):
        build_backbone("resnet50", layout="panet")
    with pytest.raises(UsageError, match=r"Did you mean layer4\.2"):
        share_network("resnet50")(torch.zeros(1, 3, 32, 32), ["layer4.9"])
    with pytest.raises(UsageError, match="no tap"):
        share_network("resnet50")(torch.zeros(1, 3, 32, 32), [])
    with pytest.raises(UsageError, match="unknown backbone"):
        default_weights("alexnet")


def test_every_card_has_a_default_and_licences() -> None:
    for name, card in CARDS.items():
        assert default_weights(name) == card.weights[0].id != RANDOM
        assert all(
            (w.licence and w.source and w.sha256 in w.file) or len(w.sha256) == 64 for w in card.weights
        )
