"""VAT's figures, its 4-D convolution against the definition, and its names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from fssbench.methods.vat.head import PooledConv4d, VATHead
from fssbench.methods.vat.method import _GUIDANCE, VAT, VATConfig
from torch import Tensor
from torch.nn import functional
from undrawn_weights import load_undrawn

import fssbench
from fssbench.api import MethodConfig
from fssbench.testing import check_method


@pytest.mark.parametrize(
    ("blocks", "guidance", "learnable"),
    [
        (6, "pascal", 3_180_954),
        (6, "coco", 3_006_490),
        (6, "fss", 3_680_410),
        (23, "pascal", 3_200_538),
        (23, "coco", 3_026_074),
        (23, "fss", 3_699_994),
    ],
)
def test_parameter_counts(blocks: int, guidance: str, learnable: int) -> None:
    """Of ResNet-50 (6 blocks in its third stage) and ResNet-101 (23)."""
    head = VATHead((3, blocks, 4), (1024, 512, 256), _GUIDANCE[guidance])
    assert sum(p.numel() for p in head.parameters()) == learnable


@torch.no_grad()
@pytest.mark.parametrize(("query_stride", "support_stride"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_pooled_convolution_by_definition(query_stride: int, support_stride: int) -> None:
    torch.manual_seed(0)
    layer = PooledConv4d(2, 3, query_stride, support_stride).double()
    volume = torch.randn(1, 2, 4, 6, 2, 4, dtype=torch.float64)
    result = layer(volume).numpy()
    given = volume[0].numpy()

    def pool(array: Any, axes: tuple[int, int], stride: int) -> Any:
        for axis in axes:
            array = np.maximum.reduce(
                [array.take(range(s, array.shape[axis], stride), axis) for s in range(stride)]
            )
        return array

    expected = np.zeros(result.shape[1:])
    pooled = pool(given, (3, 4), support_stride)
    for s in np.ndindex(pooled.shape[3:]):
        plane = torch.from_numpy(pooled[(..., *s)][None])
        expected[(..., *s)] += functional.conv2d(
            plane, layer.query.weight, layer.query.bias, stride=query_stride, padding=1
        )[0].numpy()
    pooled = pool(given, (1, 2), query_stride)
    for q in np.ndindex(pooled.shape[1:3]):
        plane = torch.from_numpy(pooled[:, q[0], q[1]][None])
        expected[:, q[0], q[1]] += functional.conv2d(
            plane, layer.support.weight, layer.support.bias, stride=support_stride, padding=1
        )[0].numpy()
    assert np.allclose(result[0], expected, atol=1e-12)


def build(tiny: Any, **config: Any) -> VAT:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return VAT(VAT.Config(grid=64, **config), tiny()).eval()


@torch.no_grad()
def test_guidance_goes_by_the_training_set(tiny: Any, episodes: Any) -> None:
    for guidance, used in (("pascal", {1, 2}), ("coco", {2}), ("fss", {0, 1, 2})):
        method, seen = build(tiny, guidance=guidance), set()
        for level, guide in enumerate(method.head.guide):
            guide.register_forward_hook(lambda *_, level=level, seen=seen: seen.add(level))
        method.predict(*episodes())
        assert seen == used


@torch.no_grad()
def test_a_batch_equals_its_episodes_one_by_one(tiny: Any, episodes: Any) -> None:
    method = build(tiny)
    query, support, mask = episodes(batch=2)
    apart = [method.predict(query[b : b + 1], support[b : b + 1], mask[b : b + 1]) for b in range(2)]
    assert torch.allclose(method.predict(query, support, mask), torch.cat(apart), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_features_are_compared_at_fixed_grids(tiny: Any, episodes: Any) -> None:
    method = build(tiny)
    inputs: list[Any] = []
    method.head.register_forward_pre_hook(lambda module, given: inputs.append(given))
    query, support, mask = episodes(size=97)
    maps = method.read(query, support)
    assert method.logits(*maps, torch.ones_like(mask)).shape == (1, 2, 64, 64)
    ((volumes, guides),) = inputs
    sides = [(pooled.query.shape[2:4], pooled.support.shape[4:6]) for pooled in volumes]
    assert sides == [((side, side),) * 2 for side in (8, 16, 32)]
    assert [guide.shape[-1] for guide in guides] == [16, 32, 64]


def _release_name(own: str) -> str:
    """The authors' name, written out from their layout."""
    if own.startswith("backbone."):
        return own
    part, index, rest = own.removeprefix("head.").split(".", 2)
    if part == "embed":
        step, inner, last = rest.split(".", 2)
        last = last.replace("query.", "query_conv.").replace("support.", "supp_conv.")
        return f"hpn_learner.ours.encoders.{index}.conv4d.{step}.{inner}.{last}"
    rest = rest.replace("bias_table", "relative_position_bias_table")
    rest = rest.replace("mlp.0.", "mlp.fc1.").replace("mlp.2.", "mlp.fc2.")
    inside = rest.startswith("blocks.")
    layout = {
        "mix": f"transformer.{index}.transformer.{'layer.' if inside else ''}{rest}",
        "refine": f"swin_decoder.{index}.0.transformer.{'layers.0.' if inside else ''}{rest}",
        "reduce": f"swin_decoder.{index}.1.{rest}",
        "decode": f"decoder.{index}.{rest}",
        "guide": f"proj_query_feat.{index}.{rest}",
    }
    return f"hpn_learner.ours.{layout[part]}"


def test_the_authors_file_loads(tmp_path: Path) -> None:
    """Lightning's dict around the state dict, DataParallel's prefix, and the buffers that are computed."""
    first = fssbench.load_method("vat", backbone="resnet50", weights="random", seed=1)
    state: dict[str, Tensor] = {f"module.{_release_name(k)}": v for k, v in first.state_dict().items()}
    block = "module.hpn_learner.ours.transformer.0.transformer.layer.blocks.1"
    state[f"{block}.attn_mask"] = torch.zeros(16, 256, 256)
    state[f"{block}.attn.relative_position_index"] = torch.zeros(256, 256)
    state["module.backbone.fc.bias"] = torch.zeros(1000)
    torch.save({"epoch": 3, "state_dict": state, "best_val_mIoU": 60.1}, tmp_path / "model_best.pth")
    again = load_undrawn("vat", checkpoint=tmp_path / "model_best.pth", seed=2)
    assert all(torch.equal(v, first.state_dict()[k]) for k, v in again.state_dict().items())


class _SmallConfig(VATConfig):
    grid: int = 64


class _SmallVAT(VAT):
    Config: ClassVar[type[MethodConfig]] = _SmallConfig


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_keeps_the_contract() -> None:
    assert [r for r in check_method(_SmallVAT) if r.status == "fail"] == []
