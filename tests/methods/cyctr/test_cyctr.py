"""CyCTR's figures, its other outputs, its cycle, its samples and its losses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fssbench.methods.cyctr.method import CyCTR
from fssbench.methods.cyctr.transformer import CycleAttention, find_consistent
from fssbench.methods.layers import sampled_support
from undrawn_weights import load_undrawn

import fssbench

FILE = "cyctr_resnet50_225"


@pytest.fixture(scope="module")
def whole() -> Any:
    return fssbench.load_method("cyctr", backbone="resnet50", weights="random", seed=1)


def test_parameter_counts(whole: Any) -> None:
    assert whole.provenance.learnable == 7_456_692
    assert sum(p.numel() for p in whole.transformer.parameters()) == 2_474_672
    assert whole.backbone.layout == "cyctr"
    assert whole.taps.query == whole.taps.support == ("layer2.3.relu", "layer3.5.relu", "layer4.2.relu")
    with torch.device("meta"):
        wide = CyCTR(CyCTR.Config(reduce_dim=384), whole.backbone)
    assert sum(p.numel() for p in wide.parameters() if p.requires_grad) == 16_183_180


@torch.no_grad()
def test_variants_and_losses_equal_the_reference(
    golden: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = golden(FILE)
    method, (query, supports, masks) = reference.method("cyctr", "resnet50"), reference.episode(225, 5)
    cells, objects = method.read(query, supports)
    assert reference.error("logits_5shot", method.predict(cells, objects, masks), 4) < 1e-4
    features, mask = (cells, {tap: maps[:, :1] for tap, maps in objects.items()}), masks[:, :1]
    assert reference.error("logits_1shot", method.predict(*features, mask), 4) < 1e-4
    target = reference.query_mask(225)
    method.training = True  # of the method alone: no dropout, no random tokens
    main, auxiliary = method.losses(*features, mask, target, torch.zeros_like(target))
    assert float(main) == pytest.approx(float(reference.file["loss_main"]), rel=1e-4)
    assert float(auxiliary) == pytest.approx(float(reference.file["loss_aux"]), rel=1e-4)
    method.eval()
    monkeypatch.setattr(sampled_support, "keep_order", lambda count: torch.arange(count).flip(0))
    assert reference.error("logits_1shot_reversed", method.predict(*features, mask), 8) < 1e-4
    monkeypatch.undo()
    for layer in method.transformer.cross_layers:
        layer.cycle = False
    assert reference.error("logits_1shot_nocycle", method.predict(*features, mask), 8) < 1e-4


@pytest.mark.slow
@torch.no_grad()
def test_it_equals_its_reference_at_its_own_size(golden: Callable[[str], Any]) -> None:
    """There the object has more than 300 cells, and its tokens are drawn too."""
    reference = golden(FILE)
    logits = reference.method("cyctr", "resnet50").predict(*reference.episode(473, 1))
    assert reference.error("logits_1shot_473", logits, 8) < 1e-4


def test_the_cycle_by_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 7, 5, generator=generator)
    inside = torch.rand(2, 5, generator=generator) > 0.5
    result = find_consistent(scores, inside)
    for b in range(2):
        for head in range(3):
            for j in range(5):
                there = max(range(7), key=lambda i: scores[b, head, i, j])
                back = max(range(5), key=lambda k: scores[b, head, there, k])
                assert bool(result[b, head, j]) == bool(inside[b, j] == inside[b, back])
    assert result.any()
    assert not result.all()


def test_training_attends_to_a_tenth_of_the_inconsistent_tokens() -> None:
    torch.manual_seed(0)
    layer = CycleAttention(8, 2, cycle=True)
    scores = torch.randn(4, 2, 9, 500)
    inside = torch.rand(4, 500) > 0.5
    inconsistent = ~find_consistent(scores, inside)
    excluded = layer._exclude(scores, inside) < 0
    assert not (excluded & ~inconsistent).any()
    assert float(excluded[inconsistent].float().mean()) == pytest.approx(0.9, abs=0.03)
    assert torch.equal(layer.eval()._exclude(scores, inside) < 0, inconsistent)


def build(tiny: Any, **config: Any) -> CyCTR:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return CyCTR(CyCTR.Config(reduce_dim=16, **config), tiny()).eval()


@torch.no_grad()
def test_random_tokens_are_those_of_the_episode_s_generator(tiny: Any, episodes: Any) -> None:
    """Of a 35 x 35 grid, more cells than take part."""
    inputs = episodes(size=560)
    method = build(tiny, sampling="random")
    first = method.predict(*inputs, seed=1)
    assert torch.equal(method.predict(*inputs, seed=1), first)
    others = method.predict(*inputs, seed=2), build(tiny).predict(*inputs)
    assert not any(torch.equal(other, first) for other in others)


@torch.no_grad()
def test_own_masks_change_which_tokens_are_consistent(tiny: Any, episodes: Any) -> None:
    inputs = episodes(size=160)
    assert not torch.equal(build(tiny, own_masks=True).predict(*inputs), build(tiny).predict(*inputs))


def test_the_loss_reaches_every_parameter_that_is_used(tiny: Any, episodes: Any) -> None:
    method = build(tiny).train()
    query, support, mask = episodes(batch=2)
    target = mask[:, 0] == 1
    method.loss(query, support, mask, target, torch.zeros_like(target)).backward()
    learnable = {name: p for name, p in method.named_parameters() if p.requires_grad}
    assert {n.partition(".")[0] for n, p in learnable.items() if p.grad is None} == {"addtional_proj"}
    assert all(p.grad.isfinite().all() for p in learnable.values() if p.grad is not None)


def test_the_authors_file_loads_and_says_its_width(tmp_path: Path, whole: Any) -> None:
    """In a dict, with DataParallel's prefix, the flat names of the stem, and frozen norms without counters."""
    stem = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3"}
    state = {}
    for name, value in whole.state_dict().items():
        if name.startswith("backbone.layer0."):
            _, _, place, leaf = name.split(".")
            name = f"backbone.{stem[place]}.{leaf}"
        if not name.endswith("num_batches_tracked"):
            state[f"module.{name.replace('backbone.', 'backbone.body.')}"] = value
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {}}, tmp_path / "best.pth")
    again = load_undrawn("cyctr", backbone="resnet50", checkpoint=tmp_path / "best.pth", seed=2)
    assert again.config.reduce_dim == 256  # type: ignore[attr-defined]
    own = again.state_dict()
    assert all(torch.equal(own[k], v) for k, v in whole.state_dict().items())


def test_the_recipe_is_what_the_code_does_and_says_what_the_files_say() -> None:
    recipe = CyCTR.recipe
    assert recipe is not None
    assert (recipe.learning_rate, recipe.stated_rate) == (15 * 2.5e-3, 2.5e-3)
    parts = recipe.parts or ()
    names = ("cls.0.weight", "transformer.layer_norms.0.weight", "transformer.layer_norms.0.bias")
    followed = [recipe.part_of(name) for name in names]
    assert followed[0] is None
    assert [parts[i or 0].weight_decay for i in followed[1:]] == [1e-2, 0]
    assert {(part.optimizer, part.learning_rate) for part in parts} == {("adamw", 1e-4)}
