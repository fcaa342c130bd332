"""FECANet's reference maps beyond those that the acceptance script reads, its figures, and its layers by definition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fssbench.methods.fecanet import FECANet
from fssbench.methods.fecanet.head import Enhancement, compare_neighbours
from torch.nn import functional
from undrawn_weights import load_undrawn

import fssbench


@pytest.mark.parametrize("file", ["fecanet_resnet50_200"])
def test_equals_the_reference(file: str, golden: Callable[[str], Any]) -> None:
    """Logits, those of a quarter of the size with one look, two, and as trained on one device; the loss."""
    reference = golden(file)
    method = reference.method("fecanet", "resnet50").eval()
    query, support, mask = reference.episode(200, 1)
    with torch.no_grad():
        episode = *method.read(query, support), mask  # whose features serve all that follows
        assert reference.error("logits_1shot", method.predict(*episode), 4) < 1e-4
        assert reference.error("quarter_1shot", method.logits(*episode), 1) < 1e-4
        method.config = FECANet.Config(looks=2)
        assert reference.error("quarter_1shot_history", method.logits(*episode), 1) < 1e-4
        method.config = FECANet.Config()
        target = reference.query_mask(200)
        loss = method.loss(*episode, target, torch.zeros_like(target))
        assert float(loss) == pytest.approx(float(reference.file["loss_main"]), rel=1e-4)
        method.enhancement = torch.nn.ModuleDict()
        assert reference.error("quarter_1shot_plain", method.logits(*episode), 1) < 1e-4


@pytest.mark.parametrize(
    ("backbone", "enhance", "count"),
    [("resnet50", True, 18_029_154), ("resnet50", False, 3_547_778), ("vgg16", False, 3_544_002)],
)
def test_parameter_counts(backbone: str, enhance: bool, count: int) -> None:
    method = load_undrawn("fecanet", backbone=backbone, weights="random", enhance=enhance)
    assert method.provenance.learnable == count


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("vgg16", ["features.30", "features.23", "features.16"]),
        ("efficientnet-lite0", ["blocks.15", "blocks.10", "blocks.4"]),
        ("resnet50", ["layer4.2.relu", "layer3.5.relu", "layer2.3.relu"]),
    ],
)
def test_outputs_of_stages(name: str, outputs: list[str]) -> None:
    method = load_undrawn("fecanet", backbone=name, weights="random")
    assert list(method.taps.query[-len(outputs) :])[-1] == outputs[-1]
    assert set(outputs) <= set(method.taps.support)


@torch.no_grad()
def test_vgg_pool_is_resized_to_half_of_the_level_before() -> None:
    """At 72 px the levels have 9, 4 and 2 cells; the reference's rule makes 5 of the 4 and 3 of the 2."""
    method = fssbench.load_method("fecanet", backbone="vgg16", weights="random").eval()
    query, support = torch.randn(1, 3, 72, 72), torch.randn(1, 2, 3, 72, 72)
    mask = torch.zeros(1, 2, 72, 72)
    mask[..., 10:50, 20:60] = 1
    seen: list[tuple[int, ...]] = []
    method.context.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape)))
    assert method.predict(query, support, mask).shape == (1, 2, 72, 72)
    assert [shape[1:] for shape in seen[::2]][:3] == [(201, 9, 9), (201, 5, 5), (201, 3, 3)]


def test_the_enhancement_starts_as_the_identity() -> None:
    torch.manual_seed(0)
    layer = Enhancement(16).eval()
    query, support = torch.randn(2, 16, 3, 4), torch.randn(2, 16, 3, 4)
    for result, given in zip(layer(query, support), (query, support), strict=True):
        assert torch.equal(result, given)


@torch.no_grad()
def test_the_enhancement_by_its_definition() -> None:
    """Cell by cell: weights from both images, values of the image itself."""
    torch.manual_seed(0)
    layer = Enhancement(16).double().eval()
    torch.nn.init.normal_(layer.expand_support[1].weight)
    torch.nn.init.normal_(layer.expand_query[1].weight)
    query, support = torch.randn(1, 16, 2, 3).double(), torch.randn(1, 16, 2, 3).double()
    keys, questions = layer.key(support).flatten(2)[0].T, layer.query(query).flatten(2)[0].T
    for result, maps, own, other, expand in zip(
        layer(query, support),
        (query, support),
        (questions, keys),
        (keys, questions),
        (layer.expand_query, layer.expand_support),
        strict=True,
    ):
        values = layer.value(maps).flatten(2)[0].T
        cells = torch.stack([(other @ cell).softmax(0) @ values for cell in own])
        gate = torch.sigmoid(layer.gate(maps.mean(dim=(2, 3))))[..., None, None]
        expected = expand(cells.T.reshape(1, 8, 2, 3)) * gate + maps
        assert torch.allclose(result, expected)


def test_neighbours_by_definition() -> None:
    maps = torch.randn(1, 5, 3, 4, dtype=torch.float64)
    result = compare_neighbours(maps)
    for row in range(3):
        for column in range(4):
            for c in range(3):
                for r in range(3):
                    y, x = row + r - 1, column + c - 1
                    inside = 0 <= y < 3 and 0 <= x < 4
                    expected = (
                        functional.cosine_similarity(maps[0, :, row, column], maps[0, :, y, x], dim=0)
                        if inside
                        else torch.zeros((), dtype=torch.float64)
                    )
                    assert torch.allclose(result[0, 3 * c + r, row, column], expected)


@torch.no_grad()
def test_a_second_look_reads_the_first(tiny: Any, episodes: Any) -> None:
    torch.manual_seed(0)
    once = FECANet(FECANet.Config(enhance=False), tiny()).eval()
    twice = FECANet(FECANet.Config(enhance=False, looks=2), once.backbone).eval()
    twice.load_state_dict(once.state_dict())
    query, support, mask = episodes()
    cells, objects = once.read(query, support)
    first, second = once.logits(cells, objects, mask), twice.logits(cells, objects, mask)
    assert not torch.allclose(first, second)
    squeezed: list[torch.Tensor] = []
    handle = twice.hpn_learner.refine[0].register_forward_pre_hook(lambda _, given: squeezed.append(given[0]))
    twice.logits(cells, objects, mask)
    handle.remove()
    history = functional.interpolate(
        first.softmax(1), squeezed[1].shape[-2:], mode="bilinear", align_corners=True
    )
    assert not squeezed[0][:, -2:].any()
    assert torch.allclose(squeezed[1][:, -2:], history)


@pytest.mark.parametrize("enhance", [True, False])
def test_the_authors_file_loads_by_name(enhance: bool, tmp_path: Path) -> None:
    """`net` of a file of one device has no enhancement modules; that of several devices has."""
    first = fssbench.load_method("fecanet", backbone="resnet50", weights="random", seed=1, enhance=enhance)
    theirs = {
        "enhancement.fine.": "fem_1.",
        "enhancement.middle.": "fem_2.",
        "enhancement.coarse.": "fem_3.",
        ".value.": ".common_v.",
        ".expand_support.": ".Trans_s.",
        ".expand_query.": ".Trans_q.",
        ".gate.0.": ".ChannelGate.mlp.1.",
        ".gate.2.": ".ChannelGate.mlp.3.",
        "context.near.": "ss.conv.",
        "context.far.": "ss.conv1.",
        ".refine.0.": ".residule1.",
        ".refine.1.": ".residule2.",
        ".refine.2.": ".residule3.",
    }
    net = {"module.backbone.fc.weight": torch.zeros(1000, 2048)}
    for name, value in first.state_dict().items():
        for ours, other in theirs.items():
            name = name.replace(ours, other)
        net[f"module.{name}"] = value
    torch.save({"epoch": 3, "net": net, "optimizer": {"state": {}}}, tmp_path / "best_model.pt")
    again = load_undrawn("fecanet", backbone="resnet50", checkpoint=tmp_path / "best_model.pt", seed=2)
    assert again.config.enhance is enhance
    assert all(torch.equal(v, first.state_dict()[k]) for k, v in again.state_dict().items())
