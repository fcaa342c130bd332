"""BAM's figures, its two learners, its ensemble, its losses and its checkpoints, against the reference's numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fssbench.methods.bam.ensemble import (
    Ensemble,
    make_shot_layers,
    measure_scene_distance,
    rate_shots,
    sum_base_classes,
    weigh_shots,
)
from fssbench.methods.bam.method import BAM
from fssbench.methods.layers.supervision import compute_resized_loss
from shared_passes import run_once
from torch import Tensor
from undrawn_weights import load_undrawn

from fssbench.api import UsageError, pixel_loss

SHOTS = "kshot_rw."


def made(tiny: Callable[..., Any], **config: Any) -> BAM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BAM(BAM.Config(classes=3, **config), tiny()).eval()


@pytest.mark.parametrize(
    ("backbone", "learnable", "total"), [("resnet50", 4_917_254, 51_631_062), ("vgg16", 4_524_038, None)]
)
def test_parameter_counts_of_one_support(backbone: str, learnable: int, total: int | None) -> None:
    method = load_undrawn("bam", backbone=backbone, weights="random", weighted_shots=1)
    assert sum(p.numel() for p in method.parameters() if p.requires_grad) == learnable
    assert total in {None, sum(p.numel() for p in method.parameters())}


@pytest.mark.parametrize(("width", "count"), [(2, 27), (0, 25)])
def test_parameters_that_five_supports_add(width: int, count: int) -> None:
    assert sum(p.numel() for p in make_shot_layers(5, width).parameters()) == count


@torch.no_grad()
def test_maps_and_losses_equal_the_reference(golden: Callable[[str], Any]) -> None:
    reference = golden("bam_resnet50_233")
    method = reference.method("bam", "resnet50")
    assert method.config.classes == 15
    method._measure_distances = run_once(method._measure_distances)
    query, support, mask = reference.episode(233, 5)
    features = method.read(query, support)
    single = {tap: maps[:, :1] for tap, maps in features[1].items()}
    one = method._predict(features[0], single, mask[:, :1])

    def sized(logits: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(logits, (233, 233), mode="bilinear", align_corners=True)

    assert reference.error("meta_1shot", sized(one.meta), 8) < 1e-4
    assert reference.error("base_1shot", sized(one.base), 16) < 1e-4
    near, far = method.ensemble.gram_merge.weight.flatten()
    merged = near * one.meta.softmax(dim=1) + far * method._measure_distances(features[0], single)
    assert reference.error("merged_bg", merged[0, 0], 1) < 1e-4
    assert reference.error("merged_fg", merged[0, 1], 1) < 1e-4
    assert reference.error("merged_fg", one.final[0, 1], 1) < 1e-4

    logits = method.predict(features[0], single, mask[:, :1])
    assert reference.error("logits_1shot", logits, 4) < 1e-4

    target = reference.query_mask(233)
    ignore = torch.zeros_like(target)
    number = torch.tensor([int(reference.file["base_class"]) + 1])
    loss = float(method.loss(features[0], single, mask[:, :1], target, ignore, number))
    expected = float(reference.file["loss_final"]) + float(reference.file["loss_meta"])
    assert loss == pytest.approx(expected, rel=1e-4)
    assert float(compute_resized_loss(one.meta, target, ignore)) == pytest.approx(
        float(reference.file["loss_meta"]), rel=1e-4
    )
    labels = torch.where(target, 4, 0)
    border = torch.zeros_like(target)
    border[:, :20] = True
    base_loss = float(pixel_loss(sized(one.base), labels.masked_fill(border, 0), border))
    assert base_loss == pytest.approx(float(reference.file["loss_base"]), rel=1e-4)

    distances = method._measure_distances(*features)
    # a file of one support
    assert torch.allclose(weigh_shots(method.kshot_rw, distances), torch.full((1, 5), 0.2))
    extra = zip(reference.file["names_5shot_extra"], reference.file["shapes_5shot_extra"], strict=True)
    hidden = {str(name): str(shape) for name, shape in extra}
    for width, entries in ((2, hidden), (0, {f"{SHOTS}weight": "5,5,1,1"})):
        method.kshot_rw = make_shot_layers(5, width)
        state = {name.removeprefix(SHOTS): reference.values(name, shape) for name, shape in entries.items()}
        method.kshot_rw.load_state_dict(state)
        five = method._predict(*features, mask)
        if width == 0:
            assert reference.error("final_5shot_linear", sized(five.final), 8) < 1e-4
            continue
        assert reference.error("meta_5shot", sized(five.meta), 8) < 1e-4
        ratings, _ = rate_shots(method.kshot_rw, distances)
        assert np.allclose(ratings[0].numpy(), reference.file["kshot_rw_out"], rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_the_scene_distance_is_that_of_cosines_between_channels() -> None:
    query, support = torch.randn(2, 4, 3, 5), torch.randn(2, 4, 6, 2)
    for result, a, b in zip(measure_scene_distance(query, support), query, support, strict=True):
        first, second = _cosines(a), _cosines(b)
        assert float(result) == pytest.approx(float(np.sqrt(((first - second) ** 2).sum()) / 4), rel=1e-4)


def _cosines(maps: Tensor) -> Any:
    rows = maps.flatten(1).numpy()
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


@torch.no_grad()
def test_supports_are_weighed_by_their_distance_and_not_by_their_place() -> None:
    distances = torch.tensor([[0.3, 0.1, 0.9], [0.2, 0.8, 0.5]])
    for width in (0, 2):
        layers = make_shot_layers(3, width)
        assert torch.allclose(weigh_shots(layers, distances), torch.full((2, 3), 1 / 3))
        for parameter in layers.parameters():
            parameter.normal_()
        weights = weigh_shots(layers, distances)
        assert torch.allclose(weights.sum(dim=1), torch.ones(2))
        order = [2, 0, 1]
        assert torch.allclose(weigh_shots(layers, distances[:, order]), weights[:, order])


@torch.no_grad()
def test_another_number_of_supports_weighs_all_the_same(tiny: Any, episodes: Any) -> None:
    method = made(tiny, weighted_shots=2)
    inputs = episodes(shots=3)
    before = method.predict(*inputs)
    for parameter in method.kshot_rw.parameters():  # type: ignore[union-attr]
        parameter.normal_()
    assert torch.equal(method.predict(*inputs), before)
    query, support, mask = inputs
    two = method.predict(query, support[:, :2], mask[:, :2])
    for parameter in method.kshot_rw.parameters():  # type: ignore[union-attr]
        parameter.normal_(std=9.0)
    assert not torch.equal(method.predict(query, support[:, :2], mask[:, :2]), two)


@torch.no_grad()
def test_the_ensemble_starts_as_the_meta_learner() -> None:
    meta = torch.randn(2, 2, 4, 4).softmax(dim=1)
    ensemble = Ensemble()
    base, far = torch.rand(2, 1, 4, 4), torch.rand(2)
    assert torch.allclose(ensemble(meta, base, far), meta)
    ensemble.cls_merge.weight.copy_(torch.tensor([1.0, 1.0]).view(1, 2, 1, 1))
    merged = ensemble(meta, base, far)
    assert torch.allclose(merged[:, :1], meta[:, :1] + base)
    assert torch.equal(merged[:, 1], meta[:, 1])


@torch.no_grad()
def test_the_map_of_base_classes_leaves_out_the_background_and_the_own_class() -> None:
    logits = torch.randn(2, 4, 3, 3)
    probabilities = logits.softmax(dim=1)
    assert torch.allclose(sum_base_classes(logits, (3, 3))[:, 0], 1 - probabilities[:, 0], atol=1e-6)
    own = sum_base_classes(logits, (3, 3), torch.tensor([1, 3]))[:, 0]
    assert torch.allclose(own[0], probabilities[0, 2:].sum(dim=0), atol=1e-6)
    assert torch.allclose(own[1], probabilities[1, 1:3].sum(dim=0), atol=1e-6)


def test_the_second_stage_moves_the_meta_learner_and_the_ensemble_alone(tiny: Any, episodes: Any) -> None:
    method = made(tiny, weighted_shots=2).train()
    norms = [m for m in method.base.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(m.training for m in norms)
    assert all(m.training for m in method.base.modules() if isinstance(m, torch.nn.Dropout2d))
    _, support, mask = episodes(batch=2, shots=2, size=97)
    before = {k: v.clone() for k, v in method.state_dict().items()}
    learnt = {n: p for n, p in method.named_parameters() if p.requires_grad}
    assert {n.partition(".")[0] for n in learnt} == {"meta", "ensemble", "kshot_rw"}
    optimizer = torch.optim.SGD(learnt.values(), lr=0.05, momentum=0.9)
    losses = []
    for step in range(12):
        optimizer.zero_grad()
        torch.manual_seed(step)
        target = mask[:, 0] == 1
        loss = method.loss(
            support[:, 0], support, mask, target, torch.zeros_like(target), torch.tensor([1, 2])
        )
        loss.backward()
        if step == 1:  # the first layer of the weights of supports learns from the second step on
            assert [n for n, p in learnt.items() if p.grad is None] == []
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    moved = {k for k, v in method.state_dict().items() if not torch.equal(v, before[k])}
    assert {k.partition(".")[0] for k in moved} <= {"meta", "ensemble", "kshot_rw"}


def test_the_base_stage_learns_class_numbers_with_its_encoder(tiny: Any) -> None:
    """Colours as classes; what is ignored moves nothing."""
    torch.manual_seed(0)
    method = made(tiny)
    method.begin_stage("base")
    method.train()
    images, target = 0.3 * torch.randn(4, 3, 64, 64), torch.zeros(4, 64, 64, dtype=torch.long)
    for i in range(4):
        images[i, 1 + i % 2, :, :32] += 2
        target[i, :, :32] = 1 + i % 2
    ignore = torch.zeros_like(target, dtype=torch.bool)
    ignore[:, 40:] = True
    before = {k: v.clone() for k, v in method.state_dict().items()}
    learnt = {n: p for n, p in method.named_parameters() if p.requires_grad}
    assert {n.partition(".")[0] for n in learnt} == {"base", "backbone"}
    assert {method.rate_factor(n) for n in learnt if n.startswith("base.")} == {10}
    assert {method.rate_factor(n) for n in learnt if n.startswith("backbone.")} == {1}
    optimizer = torch.optim.Adam(learnt.values(), lr=2e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = method.loss(images, images[:, None], target[:, None].float(), target, ignore)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    moved = {k for k, v in method.state_dict().items() if not torch.equal(v, before[k])}
    assert {k.partition(".")[0] for k in moved} == {"base", "backbone"}
    assert any("running_mean" in k for k in moved)
    method.eval()
    with torch.no_grad():
        first = method.loss(images, None, None, target, ignore)  # type: ignore[arg-type]
        other = method.loss(images, None, None, target.masked_fill(ignore, 3), ignore)  # type: ignore[arg-type]
    assert torch.equal(first, other)


def test_too_few_classes_and_too_small_batches_are_told(tiny: Any, episodes: Any) -> None:
    method = made(tiny)
    query, support, mask = episodes()
    target, ignore = mask[:, 0] == 1, torch.zeros(1, 64, 64, dtype=torch.bool)
    with pytest.raises(UsageError, match="has 3 base classes.*number 4.*--set classes=N"):
        method.loss(query, support, mask, target, ignore, torch.tensor([4]))
    method.begin_stage("base")
    with pytest.raises(UsageError, match="has 3 base classes.*number 4.*--set classes=N"):
        method.loss(query, support, mask, 4 * target.long(), ignore)
    with pytest.raises(UsageError, match="two images a forward"):
        method.train().loss(query, support, mask, target.long(), ignore)


def test_the_authors_file_of_five_supports_loads(golden: Callable[[str], Any], tmp_path: Path) -> None:
    """`best.pth` of several devices; it brings encoder, number of classes and the layer that weighs supports."""
    reference = golden("bam_resnet50_233")
    entries = zip(reference.file["names"], reference.file["shapes"], strict=True)
    state = {f"module.{name}": reference.values(str(name), str(shape)) for name, shape in entries}
    linear = torch.rand(5, 5, 1, 1)
    state[f"module.{SHOTS}weight"] = linear
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {}}, tmp_path / "best.pth")
    method = load_undrawn("bam", backbone="resnet50", checkpoint=tmp_path / "best.pth")
    assert isinstance(method, BAM)
    assert method.provenance.weights == "reference"
    assert (method.config.classes, method.config.weighted_shots, method.config.kshot_trans_dim) == (15, 5, 0)
    assert torch.equal(method.state_dict()[f"{SHOTS}weight"], linear)
    assert torch.equal(method.state_dict()["base.classifier.bias"], state["module.learner_base.1.4.bias"])
