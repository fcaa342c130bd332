"""HSNet's figures and its vote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fssbench.methods.hsnet import HSNet, HypercorrelationHead
from fssbench.methods.layers.feature_maps import mask_features
from undrawn_weights import load_undrawn

import fssbench
from fssbench.contracts.prediction import vote_on_masks


@pytest.mark.parametrize(
    ("backbone", "learnable"),
    [("resnet50", 2_573_794), ("resnet101", 2_587_394), ("vgg16", 2_570_018)],
)
def test_parameter_counts(backbone: str, learnable: int) -> None:
    method = load_undrawn("hsnet", backbone=backbone, weights="random")
    assert sum(p.numel() for p in method.parameters() if p.requires_grad) == learnable


def test_taps_are_the_blocks_of_the_last_three_stages() -> None:
    taps = load_undrawn("hsnet", backbone="vgg16", weights="random").taps
    assert taps.query == taps.support
    coarse, middle, fine = taps.query[:1], taps.query[1:4], taps.query[4:]
    assert coarse == ("features.30",)
    assert middle == ("features.24", "features.26", "features.28")
    assert fine == ("features.17", "features.19", "features.21")


@torch.no_grad()
def test_levels_whose_support_planes_round_differently() -> None:
    head = HypercorrelationHead((1, 2, 3)).eval()
    volumes = [torch.rand(1, n, q, q, s, s) for n, q, s in ((1, 4, 8), (2, 8, 17), (3, 16, 33))]
    assert head(volumes).shape == (1, 2, 32, 32)


@torch.no_grad()
@pytest.mark.parametrize("sides", [(10, 30, 40, 60), (0, 96, 0, 96), (50, 51, 3, 4), (0, 0, 0, 0)])
def test_the_window_of_the_object_changes_nothing(
    sides: tuple[int, int, int, int], tiny: Callable[..., Any]
) -> None:
    """`match` without a mask computes the whole planes of cosines."""
    torch.manual_seed(0)
    method = HSNet(HSNet.Config(), tiny()).eval()
    mask = torch.zeros(2, 1, 96, 96)
    mask[0, :, sides[0] : sides[1], sides[2] : sides[3]] = 1
    query, support = method.read(torch.randn(2, 3, 96, 96), torch.randn(2, 1, 3, 96, 96))
    objects = {tap: mask_features(maps, mask)[:, 0] for tap, maps in support.items()}
    result = method.logits(query, support, mask)
    assert torch.allclose(result, method.match(query, objects), atol=1e-5)


@torch.no_grad()
def test_features_in_bfloat16_give_the_same_logits_but_for_rounding(tiny: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    method = HSNet(HSNet.Config(), tiny()).eval()
    mask = torch.zeros(2, 1, 96, 96)
    mask[0, :, 10:50, 30:70] = 1
    mask[1] = torch.rand(1, 96, 96)
    query, support = method.read(torch.randn(2, 3, 96, 96), torch.randn(2, 1, 3, 96, 96))
    exact = method.logits(query, support, mask)
    low = [{tap: maps.bfloat16() for tap, maps in each.items()} for each in (query, support)]
    before = [{tap: maps.clone() for tap, maps in each.items()} for each in low]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = method.logits(*low, mask)
    assert (rounded - exact).abs().max() < 0.05 * exact.abs().max()
    assert all(torch.equal(a[tap], b[tap]) for a, b in zip(low, before, strict=True) for tap in a)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_without_autocast_features_in_lower_precision_are_computed_in_float32(
    dtype: torch.dtype, tiny: Callable[..., Any]
) -> None:
    """A backbone of others may give such features in a run in float32."""
    torch.manual_seed(0)
    method = HSNet(HSNet.Config(), tiny()).eval()
    mask = torch.rand(1, 1, 96, 96)
    query, support = method.read(torch.randn(1, 3, 96, 96), torch.randn(1, 1, 3, 96, 96))
    low = [{tap: maps.to(dtype) for tap, maps in each.items()} for each in (query, support)]
    single = [{tap: maps.float() for tap, maps in each.items()} for each in low]
    assert torch.equal(method.logits(*low, mask), method.logits(*single, mask))


@torch.no_grad()
def test_the_vote_follows_the_reference(tiny: Callable[..., Any], episodes: Any) -> None:
    torch.manual_seed(3)
    method = HSNet(HSNet.Config(), tiny()).eval()
    query, support, mask = episodes(batch=2, shots=5)
    single = [method.segment(query, support[:, k : k + 1], mask[:, k : k + 1]) for k in range(5)]
    votes = torch.stack(single).sum(dim=0)
    for b in range(2):
        expected = votes[b] / max(int(votes[b].max()), 1) >= 0.5
        assert torch.equal(method.segment(query, support, mask)[b], expected)


def test_votes_count_relative_to_the_most_voted_pixel_of_each_query() -> None:
    """Of five masks: four cells with 0 to 3 votes in one query, and with 1, 2, 5 and 0 in the other."""
    wanted = torch.tensor([[0, 1, 2, 3], [1, 2, 5, 0]])
    masks = [(wanted > k)[:, None] for k in range(5)]
    result = vote_on_masks(masks)
    assert result[:, 0].tolist() == [[False, False, True, True], [False, False, True, False]]


def test_names_of_the_authors_checkpoints_are_our_own() -> None:
    method = load_undrawn("hsnet", backbone="resnet50", weights="random")
    own = {k for k in method.state_dict() if not k.startswith("backbone.")}
    assert "hpn_learner.encoder_layer2.3.conv2.weight" in own
    assert {method.rename_reference(k) for k in own} == own


def test_the_authors_file_loads_backbone_included(tmp_path: Path) -> None:
    """`best_model.pt`: DataParallel's prefix, the ImageNet classifier inside, batch norm counters."""
    first = fssbench.load_method("hsnet", backbone="resnet50", weights="random", seed=1)
    file = {f"module.{k}": v for k, v in first.state_dict().items()}
    file["module.backbone.fc.weight"] = torch.zeros(1000, 2048)
    file["module.backbone.bn1.num_batches_tracked"] = torch.tensor(7)
    torch.save(file, tmp_path / "best_model.pt")
    again = load_undrawn("hsnet", backbone="resnet50", checkpoint=tmp_path / "best_model.pt", seed=2)
    assert all(torch.equal(v, first.state_dict()[k]) for k, v in again.state_dict().items())
    assert again.provenance.weights == "reference"
    assert not again.provenance.untrained
