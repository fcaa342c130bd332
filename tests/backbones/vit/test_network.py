"""Networks of timm as backbones: the authors' outputs, sizes, pixels, stages, and methods that run on them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.nn import functional
from vit_goldens import load_as_authors, load_modern_golden, load_vit_recipe

from fssbench.api import UsageError
from fssbench.backbones.vit.network import TimmBackbone, _round_to_multiple
from fssbench.loading.backbones import build_backbone, find_backbone_source
from fssbench.plugins.registry import BACKBONES

timm = pytest.importorskip("timm")

slow = pytest.mark.slow  # the same code as the fast files, on networks of 90 M parameters


@pytest.fixture(scope="module")
def recipe(shared: Path) -> ModuleType:
    return load_vit_recipe(shared)


def read_field(golden: Any, field: str) -> tuple[str, int, int]:
    """Return the tap of a field, and its strides in channels and in cells."""
    tap = field.split("_", 1)[1].replace("bf16_", "").replace("_norm", ".norm")
    channels = int(golden["channel_stride"])
    if "stride" in golden.files:
        return tap, channels, int(golden["stride"])
    stage, _, normed = tap.partition(".")
    return tap, channels, 1 if normed else int(golden["stage_strides"][int(stage.removeprefix("stage"))])


BLOCKS = ("hub_block2", "hub_block5", "hub_block8", "hub_block11", "hub_block11_norm")
CASES = [
    ("vit_dinov2s14_224", "dinov2-s", BLOCKS),
    (
        "vit_dinov2s14_224",
        "timm:vit_small_patch14_dinov2.lvd142m",
        ("timm_block2", "timm_block11", "timm_block11_norm"),
    ),
    ("vit_dinov2s14reg4_224", "dinov2-s-reg", BLOCKS),
    ("vit_dinov3s16_224", "dinov3-s", ("hub_bf16_block11",)),
    ("vit_dinov3s16_224", "timm:vit_small_patch16_dinov3.lvd1689m", BLOCKS),
    (
        "vit_dinov3convnextt_224",
        "dinov3-convnext-t",
        ("hub_stage0", "hub_stage1", "hub_stage2", "hub_stage3", "hub_stage3_norm"),
    ),
    pytest.param("vit_clipb16_224", "clip-b16", BLOCKS, marks=slow),
    pytest.param(
        "vit_samb16_256", "sam-b", ("hub_block1", "hub_block8", "hub_block11", "hub_block11_norm"), marks=slow
    ),
]


@pytest.mark.parametrize(("file", "name", "fields"), CASES)
def test_taps_equal_the_reference(
    file: str, name: str, fields: tuple[str, ...], shared: Path, recipe: ModuleType
) -> None:
    golden = load_modern_golden(shared, file)
    cls = BACKBONES.get(name)
    height, width = (int(side) for side in golden["size"])
    if name.startswith("sam"):  # the file's network is built for its input
        cls = type("SAMOfThatSize", (cls,), {"image_size": height, "card": cls.card})
    backbone = load_as_authors(cls, golden, recipe)
    scene = recipe.scene(str(golden["tag"]), "query", max(height, width))[None, :, :height, :width]
    pixels = (scene - backbone.shift) / backbone.scale  # the backbone normalises ImageNet's pixels anew
    places = {field: read_field(golden, field) for field in fields}
    maps = backbone(pixels, [tap for tap, _, _ in places.values()])
    for field, (tap, channels, cells) in places.items():
        expected = torch.from_numpy(golden[field])
        actual = maps[tap][:, ::channels, ::cells, ::cells]
        assert actual.shape == expected.shape
        assert float((actual - expected).abs().max() / expected.abs().max()) < 1e-4, field


@pytest.fixture(scope="module")
def tiny() -> TimmBackbone:
    backbone = build_backbone("timm:test_vit", seed=3)
    assert isinstance(backbone, TimmBackbone)
    return backbone


class TestInput:
    @pytest.mark.parametrize("size", [(64, 64), (70, 49), (48, 100), (3, 40)])
    def test_another_size_equals_images_resized_to_the_nearest_multiple(
        self, tiny: TimmBackbone, size: tuple[int, int]
    ) -> None:
        images = torch.randn(2, 3, *size)
        nearest = (_round_to_multiple(size[0], 16), _round_to_multiple(size[1], 16))
        resized = functional.interpolate(images, nearest, mode="bilinear", antialias=True)
        tap = list(tiny.taps)[-1]
        maps = tiny(images, [tap])[tap]
        assert torch.equal(maps, tiny(resized, [tap])[tap])
        assert tuple(maps.shape[2:]) == (nearest[0] // 16, nearest[1] // 16)

    def test_pixels_are_normalised_as_in_pretraining(self, tiny: TimmBackbone) -> None:
        given = torch.rand(1, 3, 32, 32)
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        config = tiny.network.pretrained_cfg
        prepared = tiny._prepare((given - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        own_mean, own_std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
        torch.testing.assert_close(prepared, (given - own_mean) / own_std, rtol=1e-5, atol=1e-5)
        assert config["mean"] != (0.485, 0.456, 0.406)  # else nothing was tested


class TestTaps:
    def test_normed_taps_are_the_last_norm_of_each_token(self, tiny: TimmBackbone) -> None:
        maps = tiny(torch.randn(1, 3, 32, 48), ["block1", "block1.norm"])
        tokens = maps["block1"].flatten(2).transpose(1, 2)
        torch.testing.assert_close(maps["block1.norm"].flatten(2).transpose(1, 2), tiny.network.norm(tokens))

    def test_four_stages_share_the_blocks(self, tiny: TimmBackbone) -> None:
        stages = [tiny.stage(number) for number in (1, 2, 3, 4)]
        blocks = [tap for tap in tiny.taps if "." not in tap]
        assert [tap for stage in stages for tap in stage] == blocks
        assert tiny.stage(0) == ()

    def test_convolutional_networks_have_stages_by_stride(self) -> None:
        backbone = build_backbone("timm:test_convnext")
        strides = {tap.name: (tap.stride, tap.stage) for tap in backbone.taps.values()}
        assert strides["stage0"] == (4, 1)
        assert strides["stage3"] == strides["stage3.norm"] == (32, 4)
        maps = backbone(torch.randn(1, 3, 64, 96), ["stage1", "stage3"])
        assert {tap: tuple(value.shape[2:]) for tap, value in maps.items()} == {
            "stage1": (8, 12),
            "stage3": (2, 3),
        }


class TestNames:
    def test_unknown_names_get_similar_ones(self) -> None:
        with pytest.raises(UsageError, match="vit_small_patch14_dinov2"):
            BACKBONES.get("timm:vit_small_patch14_dinov")
        with pytest.raises(UsageError, match="lvd142m"):
            BACKBONES.get("timm:vit_small_patch14_dinov2.lvd142")

    def test_a_name_without_a_tag_has_no_published_weights(self) -> None:
        assert BACKBONES.get("timm:vit_base_patch16_clip_224").card.weights == ()
        (weights,) = BACKBONES.get("timm:vit_base_patch16_clip_224.openai").card.weights
        assert (weights.id, weights.origin, weights.key) == (
            "openai",
            "hub",
            "timm/vit_base_patch16_clip_224.openai",
        )

    def test_one_name_is_one_class(self) -> None:
        assert BACKBONES.get("timm:test_vit") is BACKBONES.get("timm:test_vit")

    def test_a_family_without_a_name_is_unknown(self) -> None:
        for name in ("timm:", "nobody:vit", ":vit"):
            with pytest.raises(UsageError):
                BACKBONES.get(name)

    def test_without_timm_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "timm", None)
        with pytest.raises(UsageError, match=r'pip install "fssbench\[timm\]"'):
            build_backbone("dinov2-s")


def test_the_version_of_timm_is_part_of_the_source(tiny: TimmBackbone) -> None:
    assert find_backbone_source(tiny).distributions["timm"] == timm.__version__
    assert find_backbone_source(build_backbone("efficientnet-lite0")).distributions == {}


def test_a_name_of_timm_is_not_listed_after_its_use(tiny: TimmBackbone) -> None:
    assert BACKBONES.get(tiny.card.name) is type(tiny)
    assert tiny.card.name not in BACKBONES.names()
