"""HERA-HLS against its reference's outputs (hera_hls_160a), its sets of layers, its scores, and cases at the edge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fssbench.methods.hera_hls import HERAHLS, HERAHLSConfig
from fssbench.methods.hera_hls.layer_sets import list_sets, weigh_members
from fssbench.methods.hera_hls.method import EpisodeMaps, segment
from fssbench.methods.hera_hls.selection import (
    Candidate,
    Selection,
    normalise_cells,
    score_candidate,
    select_layers,
)
from fssbench.methods.layers.resize import resize
from fssbench.methods.layers.self_support import Prototypes, add_self_support
from hypothesis import given, settings, strategies as st
from torch import Tensor
from vit_goldens import load_as_authors, load_vit_recipe, open_modern_golden

from fssbench.api import UsageError
from fssbench.contracts.debug_maps import collect_debug_maps
from fssbench.plugins.registry import BACKBONES

FILES = ("hera_hls_160a",)
FIRST, LAST = 12, 23


@pytest.fixture(params=FILES)
def golden(request: pytest.FixtureRequest, shared: Path) -> Any:
    return open_modern_golden(shared, request.param)


def test_sets_are_those_of_the_reference(golden: Any) -> None:
    for best in range(FIRST, LAST + 1):
        expected = [tuple(map(int, text.split(","))) for text in map(str, golden[f"fusion_sets_{best}"])]
        assert list_sets(best, FIRST, LAST) == expected


@settings(deadline=None)
@given(st.integers(1, 40).flatmap(lambda count: st.tuples(st.just(count), st.integers(0, count - 1))))
def test_sets_of_any_depth_are_candidates_that_end_with_the_last(case: tuple[int, int]) -> None:
    count, best = case
    sets = list_sets(best, 0, count - 1)
    assert len(sets) == 6
    for members in sets:
        assert set(members) <= set(range(count))
        assert members[-1] == count - 1
        assert list(members) == sorted(set(members))
    if count >= 24:  # what is added to all numbers is added to all members
        assert list_sets(best + 5, 5, count + 4) == [tuple(each + 5 for each in members) for members in sets]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_weights_are_shares_that_grow_with_the_score(scores: list[float]) -> None:
    members = tuple(range(len(scores)))
    weights = weigh_members(members, torch.tensor(scores))
    assert float(weights.sum()) == pytest.approx(1, abs=1e-5)
    assert float(weights.min()) >= 0.019 / len(scores)
    better = torch.tensor(scores)
    better[0] += 0.1
    assert float(weigh_members(members, better)[0]) >= float(weights[0]) - 1e-6


def check_selection(selection: Selection, golden: Any, case: str) -> None:
    single, fused = golden[f"single_{case}"], golden[f"fused_{case}"]
    assert np.abs(np.array(selection.single) - single).max() < 2e-3
    assert np.abs(np.array(selection.fused) - fused).max() < 2e-3
    top = np.sort(single)
    if top[-1] - top[-2] > 1e-3:
        assert selection.best == int(golden[f"star_{case}"]) - FIRST
    expected = golden[f"fusion_sets_{golden[f'star_{case}']}"]
    for candidate, layers, weights in zip(selection.sets, expected, golden[f"weights_{case}"], strict=True):
        assert [layer + FIRST for layer in candidate.layers] == [int(n) for n in str(layers).split(",")]
        assert np.abs(np.array(candidate.weights) - weights[: len(candidate.weights)]).max() < 1e-3


def find_stored_choice(selection: Selection, golden: Any, case: str) -> Candidate:
    """The stored winner; ours must be the same where no pixel can decide between the first two candidates."""
    number = int(golden[f"best_{case}"])
    stored = Candidate((number - FIRST,)) if number <= LAST else selection.sets[number - LAST - 1]
    scores = np.sort(np.concatenate([golden[f"single_{case}"], golden[f"fused_{case}"]]))
    if scores[-1] - scores[-2] > 1e-3:
        assert selection.winner.layers == stored.layers
    return stored


def assert_logits_equal(logits: Tensor, golden: Any, case: str) -> None:
    size = int(golden["size"])
    large = resize(logits, (size, size))
    wanted = torch.from_numpy(golden[f"logits_{case}"])
    assert float((large[..., ::8, ::8] - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())
    assert float((large[:, 1] > large[:, 0]).float().mean()) == pytest.approx(
        float(golden[f"fg_{case}"]), abs=1e-3
    )


def make_map(recipe: Any, golden: Any, who: str, layer: int, mask: Tensor) -> Tensor:
    """A made-up map (64, n, n): noise, and a direction that the object has and the background has not."""
    tag, cells = str(golden["tag"]), int(golden["size"]) // 16
    best, width, amplitude = map(float, golden["made"])

    def draw(name: str, shape: tuple[int, ...]) -> Tensor:
        values: Tensor = recipe.values(name, shape)
        return values / values.std()

    small = resize(mask[None, None], (cells, cells))[0]
    height = amplitude * np.exp(-(((layer - best) / width) ** 2))
    noise = draw(f"{tag}/{who}/block{layer}", (64, cells, cells))
    return noise + height * (2 * small - 1) * draw(f"{tag}/direction{layer}", (64, 1, 1))


@pytest.mark.parametrize("shots", [1, 5])
@torch.no_grad()
def test_equals_the_reference_on_made_up_maps(shots: int, golden: Any, shared: Path) -> None:
    recipe = load_vit_recipe(shared).recipe
    tag, size = str(golden["tag"]), int(golden["size"])
    names = [f"support{k}" for k in range(5)] if shots == 5 else [f"pseudo{k}" for k in range(3)]
    masks = [recipe.mask(f"{tag}/support{k}", size) for k in (range(5) if shots == 5 else [0] * 3)]
    scene = [("query", recipe.mask(f"{tag}/query", size)), *zip(names, masks, strict=True)]
    maps = [
        normalise_cells(torch.stack([make_map(recipe, golden, who, layer, mask) for who, mask in scene]))
        for layer in range(FIRST, LAST + 1)
    ]
    examples = [each[1:] for each in maps]
    selection = select_layers(examples, torch.stack(masks), fusable=[True] * 12)
    case = f"made_{shots}shot"
    check_selection(selection, golden, case)
    episode = EpisodeMaps([each[:1] for each in maps], [each[:shots] for each in examples], examples)
    choice = find_stored_choice(selection, golden, case)
    assert_logits_equal(segment(episode, torch.stack(masks[:shots]), choice), golden, case)


@pytest.mark.slow
@pytest.mark.timeout(600)
@torch.no_grad()
def test_equals_the_reference_on_dinov3(golden: Any, shared: Path) -> None:
    """The whole method on DINOv3 ViT-L, which has 303 million weights."""
    pytest.importorskip("timm")
    recipe = load_vit_recipe(shared)
    backbone = load_as_authors(BACKBONES.get("timm:vit_large_patch16_dinov3.lvd1689m"), golden, recipe)
    method = HERAHLS(HERAHLSConfig(), backbone).eval()
    query, supports, masks, _ = recipe.episode(
        str(golden["tag"]), int(golden["size"]), 5, float(golden["contrast"])
    )
    for shots in (1, 5):
        case = f"vitl_{shots}shot"
        maps = method._read_maps(query[0], supports[0, :shots], masks[0, :shots])
        examples = masks[0, :shots] if shots > 1 else masks[0, :1].expand(3, -1, -1)
        selection = select_layers(maps.examples, examples, fusable=[True] * 12)
        check_selection(selection, golden, case)
        choice = find_stored_choice(selection, golden, case)
        assert_logits_equal(segment(maps, masks[0, :shots], choice), golden, case)


@torch.no_grad()
def test_scores_are_those_of_one_support_after_the_other() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = normalise_cells(torch.randn(4, 6, 7, 7, generator=generator))
    masks = torch.zeros(4, 28, 28)
    for k in range(4):
        masks[k, 4 * k : 4 * k + 12, 5:20] = 1
    small = resize(masks[:, None], (7, 7))[:, 0]
    scores = []
    for k in range(4):
        others = [i for i in range(4) if i != k]
        vectors = [
            torch.stack([(maps[i] * w[i]).sum((1, 2)) / (w[i].sum() + 1e-5) for i in others]).mean(0)
            for w in (1 - small, small)
        ]
        pair = Prototypes(*(v[None, :, None, None] for v in vectors))
        cells = maps[k : k + 1]
        logits = resize(add_self_support(pair, cells, pair.logits(cells)).logits(cells), (28, 28))[0]
        predicted, truth = logits.argmax(0) == 1, masks[k] == 1
        scores.append(float((predicted & truth).sum() / (predicted | truth).sum()))
    assert float(score_candidate(maps, masks)) == pytest.approx(float(np.mean(scores)), abs=1e-5)


def build(tiny: Callable[..., Any], **config: Any) -> HERAHLS:
    return HERAHLS(HERAHLSConfig(**config), tiny()).eval()


@torch.no_grad()
@pytest.mark.parametrize("shots", [1, 3])
def test_laws_of_a_method(shots: int, tiny: Callable[..., Any], episodes: Any) -> None:
    method = build(tiny)
    query, support, mask = episodes(batch=2, shots=shots)
    generator = torch.get_rng_state()
    usual = method.predict(query, support, mask)
    assert usual.shape == (2, 2, 64, 64)
    apart = [method.predict(query[b, None], support[b, None], mask[b, None]) for b in range(2)]
    assert torch.allclose(torch.cat(apart), usual, atol=1e-3)
    assert torch.allclose(method.predict(query, support.flip(1), mask.flip(1)), usual, atol=1e-3)
    assert not torch.allclose(method.predict(query, support, 1 - mask), usual, atol=1e-2)
    assert not torch.allclose(method.predict(query, support.flip(-1), mask), usual, atol=1e-2)
    assert torch.equal(torch.get_rng_state(), generator)


@torch.no_grad()
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("shots", [1, 2])
def test_masks_of_one_value_give_numbers(
    value: float, shots: int, tiny: Callable[..., Any], episodes: Any
) -> None:
    query, support, mask = episodes(shots=shots)
    method = build(tiny)
    assert method.predict(query, support, torch.full_like(mask, value)).isfinite().all()


@torch.no_grad()
def test_equal_supports_choose_the_first_layer(tiny: Callable[..., Any], episodes: Any) -> None:
    """The IoU of two empty masks is one, so all layers are equally good."""
    _, support, mask = episodes(shots=2)
    method = build(tiny)
    maps = method._read_maps(support[0, 0], support[0], torch.zeros_like(mask[0]))
    assert method._choose(maps, torch.zeros_like(mask[0])) == Candidate((0,))


@torch.no_grad()
def test_one_support_is_joined_by_two_copies_with_a_doubled_object(
    tiny: Callable[..., Any], episodes: Any
) -> None:
    query, support, mask = episodes()
    method = build(tiny)
    doubled = torch.where(mask[0, :, None] > 0, 2 * support[0], support[0])
    maps = method._read_maps(query[0], support[0], mask[0])
    expected = method.backbone(doubled, method._taps)
    for layer, tap in enumerate(method._taps):
        assert torch.allclose(maps.examples[layer][1:], normalise_cells(expected[tap]), atol=1e-5)
        assert torch.equal(maps.examples[layer][:1], maps.supports[layer])


@torch.no_grad()
def test_ablations_choose_among_less(tiny: Callable[..., Any], episodes: Any) -> None:
    inputs = episodes(shots=3)
    last = build(tiny, **HERAHLSConfig.ablations["selection"].settings)
    assert last._taps == ("4-1",)
    assert torch.equal(last.predict(*inputs), build(tiny, hls_depth=1).predict(*inputs))
    single = build(tiny, **HERAHLSConfig.ablations["fusion"].settings)
    query, support, mask = (each[0] for each in inputs)
    assert len(single._choose(single._read_maps(query, support, mask), mask).layers) == 1


def test_only_maps_of_one_shape_are_fused(tiny: Callable[..., Any]) -> None:
    method = build(tiny)
    assert method._taps == ("3-0", "3-1", "4-0", "4-1")
    assert method._fusable == [False, False, True, True]
    maps = [torch.zeros(2, channels, 4, 4) for channels in (16, 16, 20, 20)]
    selection = select_layers(maps, torch.zeros(2, 8, 8), fusable=method._fusable)
    assert {layer for candidate in selection.sets for layer in candidate.layers} <= {2, 3}
    assert len(selection.fused) == 6


def test_more_layers_than_there_are_is_told(tiny: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="has 8 layers, and hls_depth asks for 9"):
        build(tiny, hls_depth=9)


@torch.no_grad()
def test_an_inspection_shows_the_chosen_and_the_last_layer(tiny: Callable[..., Any], episodes: Any) -> None:
    method = build(tiny)
    inputs = episodes(shots=2)
    maps = collect_debug_maps(method, *inputs)
    chosen, last = maps
    assert "chosen" in chosen
    assert last.endswith("last: 4-1")
    logits = method.logits(*inputs)
    assert torch.equal(maps[chosen], (logits[:, 1] - logits[:, 0]))
