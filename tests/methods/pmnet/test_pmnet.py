"""PMNet's figures, Eq. 2 and 3 by hand, and the paper's two branches, which no reference output covers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from fssbench.methods.pmnet import PMNet
from fssbench.methods.pmnet.head import CoarseEncoder, Refinement, TwoBranchEnhancement, compute_coarse_map
from torch import Tensor, nn
from undrawn_weights import load_undrawn

import fssbench
from fssbench.api import DataError, UsageError
from fssbench.contracts.backbones import Tap


def learnable(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("backbone", "variant", "count"),
    [
        ("resnet50", "released", 675_362),
        ("resnet50", "onehead", 675_362),
        ("resnet50", "paper", 675_490),
        ("resnet101", "released", 688_962),
    ],
)
def test_parameter_counts(backbone: str, variant: str, count: int) -> None:
    method = load_undrawn("pmnet", backbone=backbone, weights="random", variant=variant)
    assert learnable(method) == count


def test_parameter_counts_of_parts() -> None:
    method = load_undrawn("pmnet", backbone="resnet50", weights="random", variant="released")
    assert learnable(method.enhance["high"]) == 9_536
    assert learnable(method.enhance["low"]) == 7_136
    assert learnable(CoarseEncoder(16)) == 19_728
    assert learnable(Refinement()) == 52_496
    assert learnable(method.classify) == 497_760 + 13_872 + 2_610


def _convs(module: nn.Module) -> list[nn.Conv2d]:
    return [m for m in module.modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize("name", ["vgg16", "efficientnet-lite0"])
def test_other_backbones(name: str) -> None:
    method = fssbench.load_method("pmnet", backbone=name, weights="random")
    taps = method.taps
    assert len(taps.query) == len(taps.support) + 2
    with torch.no_grad():
        logits = method.predict(
            torch.randn(1, 3, 96, 96), torch.randn(1, 2, 3, 96, 96), torch.ones(1, 2, 96, 96)
        )
    assert logits.shape == (1, 2, 96, 96)
    assert logits.isfinite().all()


@torch.no_grad()
def test_swapping_query_and_support_transposes_the_enhanced_affinity() -> None:
    branches = TwoBranchEnhancement(3).eval()
    branches.support.load_state_dict(branches.query.state_dict())
    affinity = torch.randn(2, 3, 4, 5, 6, 3)

    def swap(volume: Tensor) -> Tensor:
        return volume.permute(0, 1, 4, 5, 2, 3)

    assert torch.allclose(branches(swap(affinity)), swap(branches(affinity)), atol=1e-5)


@torch.no_grad()
def test_branches_by_hand() -> None:
    """One query cell, a row of three support cells with affinities 1, 2, -4.

    Along the query plane both layers keep channel 0 as it is: relu gives 1, 2, 0.  Along the support
    plane the first layer adds each cell's neighbours and 1: relu of 4, 0, -1 gives 4, 0, 0; the second
    doubles: 8, 0, 0.  Batch norm with fresh statistics divides by sqrt(1 + 1e-5) in each layer.
    """
    branches = TwoBranchEnhancement(1).eval()
    for conv in _convs(branches):
        conv.weight.zero_()
        conv.bias.zero_()
    (q1, q2), (s1, s2) = _convs(branches.query), _convs(branches.support)
    q1.weight[0, 0, 2, 2] = q2.weight[0, 0, 1, 1] = 1
    s1.weight[0, 0, 2, 1:4] = 1
    s1.bias[0] = 1
    s2.weight[0, 0, 1, 1] = 2
    affinity = torch.tensor([1.0, 2.0, -4.0]).view(1, 1, 1, 1, 1, 3)
    enhanced = branches(affinity)
    expected = torch.tensor([1.0 + 8.0, 2.0, 0.0])
    assert torch.allclose(enhanced[0, 0].flatten(), expected / (1 + 1e-5), atol=1e-4)
    assert not enhanced[0, 1:].any()


def test_coarse_map_by_hand() -> None:
    """Affinities log 3 and 0: shares 3/4 and 1/4; beside a second support of log 4: 3/8, 1/8, 4/8."""
    one = torch.tensor([math.log(3), 0.0]).view(1, 1, 1, 1, 1, 1, 1, 2)
    mask = torch.tensor([[[[1.0, 0.0]]]])
    assert compute_coarse_map(one.unbind(1), mask).item() == pytest.approx(0.75)
    two = torch.tensor([[math.log(3), 0.0], [math.log(4), -1e4]]).view(1, 2, 1, 1, 1, 1, 1, 2)
    masks = torch.tensor([[[[1.0, 0.0]], [[0.5, 0.0]]]])
    assert compute_coarse_map(two.unbind(1), masks).item() == pytest.approx(3 / 8 + 0.5 * 4 / 8)


def test_coarse_map_is_the_mean_over_heads_and_within_the_mask() -> None:
    affinity = torch.randn(2, 3, 4, 5, 2, 3, 4, 4)
    mask = torch.rand(2, 3, 4, 4)
    together = compute_coarse_map(affinity.unbind(1), mask)
    apart = torch.stack(
        [compute_coarse_map(affinity[:, :, h : h + 1].unbind(1), mask) for h in range(4)]
    ).mean(dim=0)
    assert together.shape == (2, 5, 2, 3)
    assert torch.allclose(together, apart, atol=1e-6)
    assert together.min() >= mask.min()
    assert together.max() <= mask.max()


@pytest.mark.parametrize(
    ("given", "affinity"),
    [
        ({}, "cosine"),
        ({"variant": "paper"}, "cosine"),
        ({"variant": "released"}, "dot"),
        ({"variant": "onehead"}, "dot"),
        ({"variant": "onehead", "affinity": "cosine"}, "cosine"),
        ({"affinity": "dot"}, "dot"),
    ],
)
def test_the_forms_of_the_release_keep_its_raw_products(given: dict[str, Any], affinity: str) -> None:
    assert PMNet.Config(**given).affinity == affinity


def test_cosine_affinity_does_not_see_the_length_of_features(tiny: Any, episodes: Any) -> None:
    method = PMNet(PMNet.Config(affinity="cosine", b3dconv=False), tiny()).eval()
    query, support, mask = episodes()
    cells, objects = method.read(query, support)
    longer = {tap: f * 3 for tap, f in objects.items()}
    with torch.no_grad():
        assert torch.allclose(
            method.predict(cells, longer, mask), method.predict(cells, objects, mask), atol=1e-3
        )


@pytest.mark.parametrize("variant", ["released", "onehead"])
def test_release_names_cover_every_entry(variant: str) -> None:
    method = load_undrawn("pmnet", backbone="resnet50", weights="random", variant=variant)
    assert method.rename_reference("conv_4d_blocks.2.0.conv1.weight") == "enhance.high.0.conv1.weight"
    assert method.rename_reference("conv_layer.3.conv23.1.bias") == "encode.low.b3.1.bias"
    assert method.rename_reference("conv4.conv4.0.weight") == "fuse.refine1.out.0.weight"
    assert method.rename_reference("mixer3.2.bias") == "classify.mix3.2.bias"


def test_channels_that_heads_cannot_share_are_told(tiny: Any) -> None:
    backbone = tiny()
    backbone._taps["4-1"] = Tap("4-1", 21, 32, 4)
    with pytest.raises(UsageError, match=r"'4-1' of backbone 'tiny' has 21.*variant=onehead"):
        PMNet(PMNet.Config(variant="released"), backbone)
    PMNet(PMNet.Config(variant="onehead"), backbone)


def test_unknown_and_missing_entries_are_errors() -> None:
    method = load_undrawn("pmnet", backbone="resnet50", weights="random", variant="released")
    with pytest.raises(DataError, match="surprise"):
        method.load_reference({"surprise.weight": torch.zeros(1)})
