"""INSID3 against the reference's outputs (insid3_dinov3s_224), its groups, its masks, and empty supports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fssbench.methods.insid3 import INSID3, INSID3Config
from fssbench.methods.insid3.clusters import average_groups, group_cells
from fssbench.methods.insid3.masks import reduce_mask
from fssbench.methods.insid3.positions import count_components, remove_positions
from hypothesis import given, settings, strategies as st
from sklearn.cluster import AgglomerativeClustering
from torch import Tensor
from torch.nn import functional
from vit_goldens import load_as_authors, load_modern_golden, load_vit_recipe

from fssbench.plugins.registry import BACKBONES


@pytest.fixture(scope="module")
def golden(shared: Path) -> Any:
    return load_modern_golden(shared, "insid3_dinov3s_224")


class Case:
    """The backbone of the file, its features of a query and five supports, and their masks."""

    def __init__(self, golden: Any, shared: Path) -> None:
        recipe = load_vit_recipe(shared)
        cls = BACKBONES.get("timm:vit_small_patch16_dinov3.lvd1689m")
        self.golden = golden
        self.backbone = load_as_authors(cls, golden, recipe)
        query, supports, self.masks, _ = recipe.episode(
            str(golden["tag"]), int(golden["size"]), 5, float(golden["contrast"])
        )
        maps = self.backbone(torch.cat([query, supports[0]]), ["block11.norm"])["block11.norm"]
        self.query, self.supports = maps[0], maps[1:]

    def make(self, setting: int) -> INSID3:
        tau, merge = (round(float(value), 6) for value in self.golden["settings"][setting])
        config = INSID3Config(tau=tau, merge=merge, components=int(self.golden["svd_components"]))
        return INSID3(config, self.backbone)

    def segment(self, method: INSID3, masks: Tensor) -> tuple[Any, Tensor]:
        """Return the steps, and the mask at the size of the image."""
        support = self.supports[None, : masks.shape[1]]
        (steps,) = method._follow_steps(self.query[None], support, masks)
        signs = torch.where(steps.kept, 1.0, -1.0)[None, None]
        large = functional.interpolate(signs, tuple(masks.shape[-2:]), mode="bilinear")
        return steps, large[0, 0] > 0


@pytest.fixture(scope="module")
def case(golden: Any, shared: Path) -> Case:
    with torch.no_grad():
        return Case(golden, shared)


def assert_close(actual: Tensor, expected: np.ndarray) -> None:
    wanted = torch.from_numpy(expected)
    assert float((actual - wanted).abs().max() / wanted.abs().max()) < 1e-4


def assert_same_groups(actual: Tensor, expected: np.ndarray) -> None:
    pairs = set(zip(actual.flatten().tolist(), expected.flatten().tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


@torch.no_grad()
@pytest.mark.parametrize("setting", [0, 1])
@pytest.mark.parametrize("shots", [1, 5])
def test_equals_the_reference(shots: int, setting: int, case: Case) -> None:
    golden = case.golden
    steps, mask = case.segment(case.make(setting), case.masks[:, :shots])
    assert_close(steps.forward, golden[f"forward_{shots}shot"])
    assert np.array_equal(steps.candidates.numpy(), golden[f"candidate_{shots}shot"].astype(bool))
    assert_same_groups(steps.groups, golden[f"labels_{shots}shot_{setting}"])
    assert np.array_equal(mask.numpy(), golden[f"pred_{shots}shot_{setting}"].astype(bool))


@torch.no_grad()
def test_positions_are_removed_as_in_the_reference(case: Case) -> None:
    basis = case.make(0)._find_basis((224, 224), case.query)
    assert_close((basis @ basis.T)[::16, ::16], case.golden["projector"])
    content = remove_positions(functional.normalize(case.query.flatten(1).T, dim=1), basis)
    assert_close(content.T.unflatten(1, (14, 14))[::8, ::2, ::2], case.golden["debiased_query"])


@torch.no_grad()
def test_small_objects_keep_a_cell(case: Case) -> None:
    blob, tiny = torch.zeros(224, 224), torch.zeros(224, 224)
    blob[96:104, 64:72] = 1
    tiny[41, 67] = 1
    for name, mask in (("mask", case.masks[0, 0]), ("blob", blob), ("tiny", tiny)):
        assert np.array_equal(reduce_mask(mask, (14, 14)).numpy(), case.golden[f"grid_{name}"].astype(bool))
    _, predicted = case.segment(case.make(0), tiny[None, None])
    assert np.array_equal(predicted.numpy(), case.golden["pred_tiny"].astype(bool))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 40), st.floats(0, 0.9))
def test_groups_are_those_of_scikit_learn(seed: int, count: int, tau: float) -> None:
    vectors = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    directions = functional.normalize(vectors + vectors[: 1 + count // 4].repeat(8, 1)[:count], dim=1)
    groups = group_cells(directions, tau)
    distances = 1 - (directions @ directions.T).clamp(-1, 1)
    theirs = AgglomerativeClustering(
        None, metric="precomputed", linkage="average", distance_threshold=1 - tau
    ).fit(distances.numpy())
    assert_same_groups(groups, theirs.labels_)
    assert groups[0] == 0


def test_averages_by_group() -> None:
    groups = torch.tensor([0, 1, 0])
    assert average_groups(torch.tensor([1.0, 5.0, 3.0]), groups).tolist() == [2.0, 5.0]
    assert average_groups(torch.eye(3), groups).tolist() == [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]


def test_default_components_are_a_share_of_the_channels() -> None:
    assert count_components(torch.ones(2000), 1024) == 500
    assert count_components(torch.ones(2000), 384) == 188
    assert count_components(torch.tensor([1.0, 0.5, 1e-9]), 384) == 2


@pytest.mark.parametrize("emptied", [(0,), (0, 1)])
def test_supports_without_an_object_are_left_out(
    emptied: tuple[int, ...], tiny: Callable[..., Any], episodes: Any
) -> None:
    query, support, mask = episodes(shots=2)
    mask[:, list(emptied)] = 0
    method = INSID3(INSID3Config(components=2), tiny())
    logits = method.predict(query, support, mask)
    if len(emptied) == 2:
        assert bool((logits[:, 1] < logits[:, 0]).all())
    else:
        assert torch.equal(logits, method.predict(query, support[:, 1:], mask[:, 1:]))
