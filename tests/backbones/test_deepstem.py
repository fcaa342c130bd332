"""Deep-stem ResNets: strides, dilations, names in every authors' file, and a reference statistic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_values import read_values
from places import load_golden_recipe
from shared_networks import share_network
from torch import Tensor, nn
from torch.nn import functional
from undrawn_weights import build_undrawn, nothing_hashed

from fssbench.contracts.backbones import Backbone
from fssbench.errors import UsageError
from fssbench.loading.backbones import build_backbone

SEMSEG = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3"}


@pytest.fixture(autouse=True)
def _no_grad() -> object:
    with torch.no_grad():
        yield


@pytest.mark.parametrize(
    ("layout", "sides"),
    [
        ("deepstem", {1: 33, 2: 17, 3: 17, 4: 17}),
        ("cyctr", {1: 33, 2: 17, 3: 17, 4: 17}),
        ("ssp", {1: 33, 2: 17, 3: 17}),
    ],
)
def test_every_stage_has_its_stride(layout: str, sides: dict[int, int]) -> None:
    backbone = share_network("resnet50", layout)
    last = {stage: backbone.stage(stage)[-1] for stage in sides}
    out = backbone(torch.randn(1, 3, 129, 129), list(last.values()))
    for stage, side in sides.items():
        tap = backbone.taps[last[stage]]
        assert out[tap.name].shape == (1, tap.channels, side, side)
        assert (129 - 1) // tap.stride + 1 == side
    assert not backbone.stage(max(sides) + 1)


@pytest.mark.parametrize(("layout", "first"), [("deepstem", (2, 4)), ("cyctr", (1, 2)), ("ssp", (1, None))])
def test_dilation_is_where_the_references_have_it(layout: str, first: tuple[int, int | None]) -> None:
    """The outputs of the references tell the rate of each layer's first block (see test_golden.py)."""
    rates: dict[str, list[tuple[int, int]]] = {}
    for name, module in build_undrawn("resnet50", layout).named_modules():
        if isinstance(module, nn.Conv2d) and name.endswith("conv2"):
            rates.setdefault(name.split(".")[0], []).append((module.dilation[0], module.stride[0]))
            assert module.padding == module.dilation
    expected = {
        "layer1": [(1, 1)] * 3,
        "layer2": [(1, 2)] + [(1, 1)] * 3,
        "layer3": [(first[0], 1)] + [(2, 1)] * 5,
    }
    if first[1] is not None:
        expected["layer4"] = [(first[1], 1)] + [(4, 1)] * 2
    assert rates == expected


def test_the_stem_is_three_small_convolutions() -> None:
    backbone = build_backbone("resnet50", layout="ssp", seed=4)
    state = backbone.state_dict()
    x = images = torch.randn(1, 3, 65, 65)
    for place, stride in ((0, 2), (3, 1), (6, 1)):
        x = functional.conv2d(x, state[f"layer0.{place}.weight"], stride=stride, padding=1)
        x = (x / (1 + 1e-5) ** 0.5).relu()  # fresh norms: mean 0, variance 1
    stage = backbone.get_submodule("layer1")
    x = stage(functional.max_pool2d(x, 3, 2, 1))
    assert torch.allclose(backbone(images, ["layer1.2.relu"])["layer1.2.relu"], x, atol=1e-4)


def _renamed(state: dict[str, Tensor], naming: str) -> dict[str, Tensor]:
    """The state dict as other files name it."""
    out = {}
    for name, value in state.items():
        layer, place, *leaf = name.split(".")
        if layer == "layer0":
            name = ".".join(
                {
                    "ssp": ["layer0.1" if place == "7" else f"layer0.0.{place}", *leaf],
                    "mlc": ["bn1" if place == "7" else f"conv1.{place}", *leaf],
                    "semseg": [SEMSEG[place], *leaf],
                }[naming]
            )
        out[name] = value
    return out


@pytest.fixture(scope="module")
def whole() -> Backbone:
    return build_backbone("resnet50", layout="deepstem", seed=1)


@pytest.mark.parametrize("naming", ["ssp", "mlc", "semseg"])
@pytest.mark.parametrize("layout", ["deepstem", "ssp"])
def test_every_stem_naming_is_understood(naming: str, layout: str, whole: Backbone) -> None:
    own = build_undrawn("resnet50", layout)
    given = _renamed(whole.state_dict(), naming) | {"fc.weight": torch.zeros(1)}
    with nothing_hashed():
        own.load(given, "file")
    assert all(torch.equal(v, whole.state_dict()[k]) for k, v in own.state_dict().items())


@pytest.mark.parametrize("layout", ["deepstem", "ssp"])
def test_weights_with_another_stem_are_refused_with_the_file_to_give(layout: str) -> None:
    with pytest.raises(
        UsageError,
        match=rf"'v1' do not fit layout '{layout}' of backbone 'resnet50'.*--weights FILE with the `resnet50",
    ):
        build_backbone("resnet50", layout=layout, weights="v1")
    with pytest.raises(UsageError, match="unknown weights of resnet50 'v7'"):
        build_backbone("resnet50", layout=layout, weights="v7")


def test_features_have_repris_statistics_before_its_pyramid(shared: Path) -> None:
    """RePRI's classifier on PFENet's backbone: its 16 base maps, through pyramid pooling written out here."""
    golden = np.load(shared / "golden" / "repri_resnet50_257.npz")
    recipe = load_golden_recipe(shared)
    salt, size = str(golden["salt"]), int(golden["size"])
    shapes = {
        str(n): tuple(int(x) for x in str(s).split(",") if x)
        for n, s in zip(golden["names"], golden["shapes"], strict=True)
    }
    state = {n: read_values(recipe.values, n, s, salt) for n, s in shapes.items()}
    backbone = build_undrawn("resnet50", "deepstem")
    backbone.load({n: v for n, v in state.items() if n.startswith("layer")}, "reference")
    image = recipe.image(f"{golden['tag']}/query", size)[None]
    deep = backbone(image, ["layer4.2.relu"])["layer4.2.relu"]

    def block(x: Tensor, conv: str, norm: str, padding: int) -> Tensor:
        x = functional.conv2d(x, state[f"{conv}.weight"], padding=padding)
        values = [state[f"{norm}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")]
        return functional.batch_norm(x, *values).relu()

    parts = [deep]
    for i, cells in enumerate((1, 2, 3, 6)):
        pooled = functional.adaptive_avg_pool2d(deep, cells)
        pooled = block(pooled, f"ppm.features.{i}.1", f"ppm.features.{i}.2", 0)
        parts.append(functional.interpolate(pooled, deep.shape[-2:], mode="bilinear", align_corners=True))
    features = block(torch.cat(parts, 1), "bottleneck.0", "bottleneck.1", 1)
    np.testing.assert_allclose(features.mean(), golden["feat_mean"], rtol=1e-4)
    np.testing.assert_allclose(features.std(), golden["feat_std"], rtol=1e-4)
    maps = functional.conv2d(features, state["classifier.weight"], state["classifier.bias"])
    maps = functional.interpolate(maps, (size, size), mode="bilinear", align_corners=True)
    np.testing.assert_allclose(
        maps[..., ::16, ::16], golden["base_logits"], atol=1e-4 * np.abs(golden["base_logits"]).max()
    )
