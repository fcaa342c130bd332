"""FSSDINO against the reference's outputs (fssdino_dinov3s_256), its clusters, and classes without patches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fssbench.methods.fssdino import FSSDINO, FSSDINOConfig
from fssbench.methods.fssdino.clusters import choose_start, find_centres
from hypothesis import given, settings, strategies as st
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional
from vit_goldens import load_as_authors, load_modern_golden, load_vit_recipe

from fssbench.plugins.registry import BACKBONES


@pytest.fixture(scope="module")
def golden(shared: Path) -> Any:
    return load_modern_golden(shared, "fssdino_dinov3s_256")


@pytest.fixture(scope="module")
def episode(golden: Any, shared: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Features of the query and of five supports at both taps, and the masks."""
    recipe = load_vit_recipe(shared)
    cls = BACKBONES.get("timm:vit_small_patch16_dinov3.lvd1689m")
    backbone = load_as_authors(cls, golden, recipe)
    query, supports, masks, _ = recipe.episode(
        str(golden["tag"]), int(golden["size"]), 5, float(golden["contrast"])
    )
    maps = backbone(torch.cat([query, supports[0]]), ["block11", "block11.norm"])
    return {k: v[:1] for k, v in maps.items()}, {k: v[None, 1:] for k, v in maps.items()}, masks


@pytest.mark.parametrize("case", ["1shot", "5shot", "small", "1shot_norm", "5shot_norm"])
def test_equals_the_reference(case: str, golden: Any, episode: Any, tiny: Callable[..., Any]) -> None:
    query, support, masks = episode
    tap = "block11.norm" if case.endswith("_norm") else "block11"
    shots = 5 if case.startswith("5shot") else 1
    masks = masks[:, :shots].clone()
    if case == "small":
        masks[:] = 0
        masks[:, :, 64:96, 64:80] = 1
    method = FSSDINO(FSSDINOConfig(start="strided", clusters=int(golden["n_clusters"])), tiny())
    method._tap = tap
    features = {tap: support[tap][:, :shots]}
    if f"sims0_{case}" in golden.files:
        (classes,) = method._compute_maps(query[tap], features[tap], masks)
        for number, maps in enumerate(classes):
            expected = torch.from_numpy(golden[f"sims{number}_{case}"])
            assert maps is not None
            assert float((maps - expected).abs().max() / expected.abs().max()) < 1e-4
    logits = method.logits(query, features, masks)[0]
    expected = torch.from_numpy(golden[f"scores_{case}"])
    assert float((logits[:, ::8, ::8] - expected).abs().max() / expected.abs().max()) < 1e-4
    mask = (logits[1] > logits[0])[::2, ::2]
    different = (mask.numpy() != golden[f"pred_{case}"].astype(bool)).mean()
    assert different <= 1e-3


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(8, 40), st.integers(1, 6))
def test_centres_are_a_fixed_point(seed: int, patches: int, count: int) -> None:
    values = torch.randn(patches, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    centres = find_centres(values, count, "spread")
    cosines = functional.normalize(values, dim=1) @ functional.normalize(centres, dim=1).T
    members = cosines.argmax(dim=1)
    for number in members.unique().tolist():
        mean = values[members == number].mean(dim=0)
        assert float(torch.linalg.vector_norm(mean - centres[number])) < 0.02


def test_far_groups_are_found_as_scikit_learn_finds_them() -> None:
    generator = torch.Generator().manual_seed(0)
    directions = functional.normalize(torch.randn(4, 16, generator=generator), dim=1)
    patches = directions.repeat_interleave(30, dim=0) * 5 + 0.1 * torch.randn(120, 16, generator=generator)
    ours = find_centres(patches, 4, "spread")
    theirs = torch.from_numpy(KMeans(4, n_init=5, random_state=0).fit(patches.numpy()).cluster_centers_)
    apart = torch.cdist(ours, theirs.to(ours.dtype))
    assert sorted(apart.argmin(dim=1).tolist()) == [0, 1, 2, 3]
    assert float(apart.min(dim=1).values.max()) < 1e-3


def test_the_order_of_patches_moves_only_the_strided_start() -> None:
    patches = torch.randn(50, 6, generator=torch.Generator().manual_seed(3))
    turned = patches.flip(0)
    spread = [patches[choose_start(patches, 5, "spread")], turned[choose_start(turned, 5, "spread")]]
    assert torch.equal(*spread)
    assert choose_start(patches, 5, "strided").tolist() == [5, 15, 25, 35, 45]


def test_equal_patches_leave_no_centre_without_a_value() -> None:
    patches = torch.ones(9, 4)
    assert torch.equal(find_centres(patches, 5, "spread"), torch.ones(5, 4))
    assert torch.equal(find_centres(patches[:3], 5, "spread"), patches[:3])


@pytest.mark.parametrize("kept", [0.0, 1.0])
def test_a_class_without_patches_never_wins(kept: float, tiny: Callable[..., Any], episodes: Any) -> None:
    query, support, mask = episodes(shots=2)
    logits = FSSDINO(FSSDINOConfig(), tiny()).predict(query, support, torch.full_like(mask, kept))
    assert logits.isfinite().all()
    assert bool((logits[:, 1] > logits[:, 0]).all()) is bool(kept)


def test_an_unknown_tap_is_refused(tiny: Callable[..., Any]) -> None:
    from fssbench.api import UsageError

    with pytest.raises(UsageError, match="block11"):
        FSSDINO(FSSDINOConfig(tap="block11"), tiny())
