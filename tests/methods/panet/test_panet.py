"""PANet against its definition, written out on resized features."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fssbench.methods.panet import PANet
from torch.nn import functional
from undrawn_weights import load_undrawn

from fssbench.api import UsageError


@torch.no_grad()
@pytest.mark.parametrize("shots", [1, 3])
def test_equals_the_definition_on_full_resolution_features(tiny: Any, episodes: Any, shots: int) -> None:
    method = PANet(PANet.Config(), tiny()).eval()
    query, support, mask = episodes(shots=shots, size=97)
    cells, objects = method.read(query, support)
    (tap,) = method.taps.query
    up = functional.interpolate(objects[tap][0], (97, 97), mode="bilinear", align_corners=False)
    logits = []
    for region in (1 - mask[0], mask[0]):
        averages = (up * region[:, None]).sum((2, 3)) / (region.sum((1, 2))[:, None] + 1e-5)
        prototype = averages.mean(dim=0)
        logits.append(20 * functional.cosine_similarity(cells[tap], prototype.view(1, -1, 1, 1)))
    expected = functional.interpolate(torch.stack(logits, 1), (97, 97), mode="bilinear", align_corners=False)
    assert torch.allclose(method.predict(query, support, mask), expected, atol=1e-4)


def test_nothing_is_learnable_and_vgg16_has_the_reference_layout() -> None:
    method = load_undrawn("panet", backbone="vgg16", weights="random")
    assert method.taps.query == ("features",)
    assert sum(p.numel() for p in method.parameters()) == 14_714_688
    assert not any(p.requires_grad for p in method.parameters())


@pytest.mark.parametrize(("backbone", "tap"), [("resnet50", "layer3.5"), ("efficientnet-lite0", "blocks.10")])
def test_the_automatic_tap_is_the_last_of_the_third_stage(backbone: str, tap: str) -> None:
    assert load_undrawn("panet", backbone=backbone, weights="random").taps.query == (tap,)


def test_any_tap_can_be_named(tiny: Any) -> None:
    assert PANet(PANet.Config(tap="2-1.relu"), tiny()).taps.support == ("2-1.relu",)
    with pytest.raises(UsageError, match="2-1"):
        PANet(PANet.Config(tap="2-2"), tiny())


@torch.no_grad()
def test_finds_an_object_of_the_support_s_colour(tiny: Any) -> None:
    """Query and support hold a square of one colour at different places; the square alone is found."""
    sea, sand = torch.tensor([-1.0, 0.0, 2.0]).view(3, 1, 1), torch.tensor([2.0, 1.0, -1.0]).view(3, 1, 1)
    mask, truth = torch.zeros(1, 1, 128, 128), torch.zeros(1, 128, 128)
    mask[0, 0, :64, :64] = truth[0, 64:, 64:] = 1
    support, query = (torch.where(m > 0, sand, sea) for m in (mask.unsqueeze(2), truth.unsqueeze(1)))
    result, wanted = PANet(PANet.Config(tap="1-1"), tiny()).segment(query, support, mask), truth.bool()
    assert (result & wanted).sum() / (result | wanted).sum() > 0.85
