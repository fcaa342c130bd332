"""DCAMA's figures, its attention against torch's own, and its names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fssbench.methods.dcama import DCAMA, MaskAttention, encode_cells
from torch import Tensor, nn
from torch.nn import functional
from undrawn_weights import load_undrawn

import fssbench
from fssbench.api import UsageError


def test_parameter_count() -> None:
    method = load_undrawn("dcama", backbone="resnet50", weights="random")
    assert method.provenance.learnable == 14_215_394
    linear = [m for m in method.modules() if isinstance(m, nn.Linear)]
    assert sum(p.numel() for m in linear for p in m.parameters()) == 11_017_216


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "widths"), [("vgg16", [512, 512, 512]), ("efficientnet-lite0", [40, 80, 112, 192, 320])]
)
def test_other_backbones(name: str, widths: list[int]) -> None:
    method = fssbench.load_method("dcama", backbone=name, weights="random")
    assert [m.query.in_features for m in method.attention] == widths
    logits = method.predict(torch.randn(1, 3, 64, 64), torch.randn(1, 2, 3, 64, 64), torch.ones(1, 2, 64, 64))
    assert logits.shape == (1, 2, 64, 64)


@torch.no_grad()
def test_attention_equals_torchs_with_masks_as_values() -> None:
    torch.manual_seed(0)
    layer = MaskAttention(12, 3).double().eval()
    query, support = torch.randn(2, 5, 12).double(), torch.randn(2, 7, 12).double()
    values = torch.rand(2, 7).double()

    def heads(tokens: torch.Tensor) -> torch.Tensor:
        return tokens.unflatten(-1, (3, 4)).transpose(1, 2)

    same = values[:, None, :, None].expand(2, 3, 7, 1)
    expected = functional.scaled_dot_product_attention(
        heads(layer.query(query)), heads(layer.key(support)), same
    )
    assert torch.allclose(layer(query, support, values), expected.mean(dim=1)[..., 0])


@torch.no_grad()
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_constant_mask_is_gathered_as_it_is(value: float) -> None:
    layer = MaskAttention(8, 2).eval()
    result = layer(torch.randn(1, 4, 8), torch.randn(1, 6, 8), torch.full((1, 6), value))
    assert torch.allclose(result, torch.full((1, 4), value), atol=1e-6)


@pytest.mark.parametrize("channels", [8, 7])
def test_positions_by_definition(channels: int) -> None:
    result = encode_cells(50, channels, torch.zeros(1))
    for place in (0, 1, 49):
        for i in range(channels):
            angle = torch.tensor(place / 10_000 ** ((i - i % 2) / channels), dtype=torch.float64)
            expected = angle.cos() if i % 2 else angle.sin()
            assert result[place, i].item() == pytest.approx(expected.item(), abs=1e-5)


@torch.no_grad()
def test_supports_share_one_softmax(tiny: Any, episodes: Any) -> None:
    """The masks that two supports give together lie between those of each alone, and are not their mean."""
    torch.manual_seed(0)
    method = DCAMA(DCAMA.Config(heads=4), tiny()).eval()
    query, support, mask = episodes(shots=2)
    cells, objects = method.read(query, support)
    calls: list[tuple[Tensor, Tensor]] = []
    for attention in method.attention:
        attention.register_forward_hook(lambda module, given, masks: calls.append((given[1], masks)))

    def gather_masks(*shots: int) -> list[tuple[Tensor, Tensor]]:
        calls.clear()
        method.logits(cells, {tap: maps[:, shots] for tap, maps in objects.items()}, mask[:, shots])
        return [*calls]

    every = gather_masks(0, 1), gather_masks(0), gather_masks(1)
    distances = []
    for (tokens, joint), (own, first), (_, second) in zip(*every, strict=True):
        assert tokens.shape[1] == 2 * own.shape[1]
        distances.append(float((joint - (first + second) / 2).abs().max()))
        assert bool((joint <= torch.maximum(first, second) + 1e-6).all())
        assert bool((joint >= torch.minimum(first, second) - 1e-6).all())
    assert max(distances) > 1e-4


def test_heads_that_do_not_divide_are_told(tiny: Any) -> None:
    with pytest.raises(UsageError, match=r"heads=8 .* 12 channels of tap '2-0' of backbone 'tiny'.*heads=4"):
        DCAMA(DCAMA.Config(), tiny())


def test_the_authors_file_loads_by_name(tmp_path: Path) -> None:
    """DistributedDataParallel's prefix, the classifier of ImageNet, encodings of 10,000 positions."""
    theirs = {
        "attention.0.query.": "DCAMA_blocks.0.linears.0.",
        "attention.0.key.": "DCAMA_blocks.0.linears.1.",
        "attention.1.query.": "DCAMA_blocks.1.linears.0.",
        "attention.1.key.": "DCAMA_blocks.1.linears.1.",
        "attention.2.query.": "DCAMA_blocks.2.linears.0.",
        "attention.2.key.": "DCAMA_blocks.2.linears.1.",
        "encode.coarse.": "conv1.",
        "encode.middle.": "conv2.",
        "encode.fine.": "conv3.",
        "fuse.0.": "conv4.",
        "fuse.1.": "conv5.",
        "mix.0.": "mixer1.",
        "mix.1.": "mixer2.",
        "mix.2.": "mixer3.",
    }
    first = fssbench.load_method("dcama", backbone="vgg16", weights="random", seed=1)
    file = {"module.model.pe.0.pe": torch.zeros(1, 100, 512)}
    for name, value in first.state_dict().items():
        if name.startswith("backbone."):
            file["module.feature_extractor." + name.removeprefix("backbone.")] = value
            continue
        own = next(k for k in theirs if name.startswith(k))
        file[f"module.model.{theirs[own]}{name.removeprefix(own)}"] = value
    file["module.feature_extractor.classifier.0.weight"] = torch.zeros(1)
    torch.save(file, tmp_path / "best_model.pt")
    again = load_undrawn("dcama", backbone="vgg16", checkpoint=tmp_path / "best_model.pt", seed=2)
    assert all(torch.equal(v, first.state_dict()[k]) for k, v in again.state_dict().items())
