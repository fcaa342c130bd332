"""ABCDFSS against its golden file, and the parts it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any

import fssbench.methods.abcdfss.fit as fit_module
import numpy as np
import pytest
import torch
from fssbench.methods.abcdfss.attention import carry_mask, find_otsu_threshold
from fssbench.methods.abcdfss.fit import Views, fit
from fssbench.methods.abcdfss.method import ABCDFSS, ABCDFSSConfig
from fssbench.methods.abcdfss.shear import Shear, draw_shears, make_copies, shear_maps
from fssbench.methods.abcdfss.task_head import TaskHead
from places import load_golden_recipe
from plain_abcdfss import compute_loss, fit_plainly
from small_backbone import check_on_small_backbone
from torch.nn import functional
from torchvision.transforms.functional import InterpolationMode, affine

import fssbench
from fssbench.api import DataError


def relative(result: torch.Tensor, reference: Any) -> float:
    return float(np.abs(result.numpy() - reference).max() / np.abs(reference).max())


@pytest.fixture
def recipe(shared: Path) -> Any:
    return load_golden_recipe(shared)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@torch.no_grad()
@pytest.mark.parametrize("shots", [1, 5])
def test_equals_the_reference(shots: int, shared: Path, recipe: Any) -> None:
    golden = np.load(shared / "golden" / "abcdfss_resnet50_256.npz")
    shapes = [tuple(int(n) for n in s.split(",") if n) for s in map(str, golden["shapes"])]
    state = {
        n: recipe.values(n, s, str(golden["salt"]))
        for n, s in zip(map(str, golden["names"]), shapes, strict=True)
    }
    method = fssbench.load_method("abcdfss", backbone="resnet50", weights="random")
    method.load_reference(state)
    assert isinstance(method, ABCDFSS)
    assert not any(p.requires_grad for p in method.parameters())
    tag, size = str(golden["tag"]), int(golden["size"])
    query = recipe.image(f"{tag}/query", size)[None]
    support = torch.stack([recipe.image(f"{tag}/support{k}", size) for k in range(shots)])[None]
    mask = torch.stack([recipe.mask(f"{tag}/support{k}", size) for k in range(shots)])[None]
    heads = [TaskHead(channels, torch.Generator()) for channels in method.channels]
    for i, head in enumerate(heads):
        assert sum(p.numel() for p in head.parameters()) == golden["head_params"][i]
        for name, values in head.named_parameters():
            shape = tuple(values.shape)
            values.copy_(recipe.values(f"head{i}.{name}", shape))
    shears = [(int(x), int(y)) for x, y in golden["shears"]]
    fitted = method.fit(heads, query, support, mask, shears, method.steps)
    maps = fitted.maps(mask)
    grid = maps[0].shape[-2:]
    coarse = torch.cat([functional.interpolate(m, grid, mode="bilinear", align_corners=False) for m in maps])
    errors = {
        f"coarse{i}": relative(coarse[i, 0, ::2, ::2], golden[f"coarse_{shots}shot"][i]) for i in range(13)
    }
    logits = fitted(query, support, mask)
    errors["map"] = relative(logits[:, 1, ::4, ::4], golden[f"logit_mask_{shots}shot"])
    for i in (0, 12):
        key = f"head{i}_linear_bias_{shots}shot"
        errors[key] = relative(heads[i].linear.bias, golden[key])
    # a fit amplifies rounding (see the card): single maps agree less well than what is made of them, and
    # another number of threads moves both (on one machine the mean map by 2.7e-5 or 8.4e-4)
    assert max(errors.values()) < 2e-2, errors
    assert errors["map"] < 2e-3, errors
    assert max(errors[f"head{i}_linear_bias_{shots}shot"] for i in (0, 12)) < 1e-4, errors
    assert abs(float(logits[0, 0, 0, 0]) - float(golden[f"thresh_{shots}shot"])) < 5e-4
    foreground = float((logits[0, 1] > logits[0, 0]).float().mean())
    assert abs(foreground - float(golden[f"fg_{shots}shot"])) < 1e-3


def method_on(tiny: Any, **config: Any) -> ABCDFSS:
    return ABCDFSS(ABCDFSS.Config(**{"steps": 3, **config}), tiny()).eval()


class QuickConfig(ABCDFSSConfig):
    steps: int = 1


class Quick(ABCDFSS):
    Config = QuickConfig


def test_contract() -> None:
    assert [r for r in check_on_small_backbone(Quick) if r.status == "fail"] == []


def test_counts_and_taps() -> None:
    method = fssbench.load_method("abcdfss", backbone="resnet50", weights="random")
    assert isinstance(method, ABCDFSS)
    assert method.channels == (512,) * 4 + (1024,) * 6 + (2048,) * 3
    generator = torch.Generator().manual_seed(0)
    heads = [TaskHead(channels, generator) for channels in method.channels]
    assert sum(p.numel() for head in heads for p in head.parameters()) == 974_080
    assert method.provenance.learnable == 0


def test_a_backbone_is_needed() -> None:
    with pytest.raises(DataError, match="needs a backbone"):
        ABCDFSS(ABCDFSS.Config())


@torch.no_grad()
@pytest.mark.parametrize("shots", [1, 2])
def test_episodes_leave_nothing_behind(tiny: Any, episodes: Any, shots: int) -> None:
    """Two orders, equal results; the method keeps its state and no generator moves."""
    method = method_on(tiny)
    several = [episodes(shots=shots, seed=seed) for seed in range(3)]
    before = {k: v.clone() for k, v in method.state_dict().items()}
    drawn = torch.get_rng_state()
    forward = [method.predict(*e, seed=i) for i, e in enumerate(several)]
    backward = [method.predict(*several[i], seed=i) for i in (2, 1, 0)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not forward[0].requires_grad
    after = method.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(v, before[k]) for k, v in after.items())


@torch.no_grad()
def test_seed_and_steps_matter(tiny: Any, episodes: Any) -> None:
    inputs = episodes()
    method = method_on(tiny)
    usual = method.predict(*inputs, seed=1)
    assert not torch.equal(method.predict(*inputs, seed=2), usual)
    for other in ({"steps": 6}, {"steps": 0}, {"views": 3}, {"learning_rate": 0.5}, {"temperature": 5.0}):
        assert not torch.equal(method_on(tiny, **other).predict(*inputs, seed=1), usual)


@torch.no_grad()
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("steps", [0, 2])
def test_masks_of_one_value_give_numbers(tiny: Any, episodes: Any, value: float, steps: int) -> None:
    query, support, mask = episodes(shots=2)
    logits = method_on(tiny, steps=steps).predict(query, support, torch.full_like(mask, value))
    assert logits.isfinite().all()


@torch.no_grad()
def test_without_steps_a_batch_equals_its_episodes(tiny: Any, episodes: Any) -> None:
    query, support, mask = episodes(batch=2, shots=2, size=97)
    method = method_on(tiny, steps=0)
    together = method.predict(query, support, mask)
    apart = [method.predict(query[b : b + 1], support[b : b + 1], mask[b : b + 1]) for b in range(2)]
    assert torch.allclose(together, torch.cat(apart), atol=1e-5)


def draw_views(
    channels: int, plane: tuple[int, int], shots: int, shears: Sequence[Shear], generator: torch.Generator
) -> Views:
    query, support = (torch.randn(n, channels, *plane, generator=generator) for n in (1, shots))
    copies = (make_copies(maps, shears) for maps in (query, support))
    return Views(query, support, *(maps + torch.randn(maps.shape, generator=generator) for maps in copies))


@pytest.mark.parametrize("most", [350_000, 150])
@pytest.mark.parametrize(
    ("shots", "plane", "temperature"), [(1, (6, 9), 0.5), (3, (5, 4), 0.5), (2, (4, 4), 0.01)]
)
def test_steps_follow_the_gradient_of_the_plain_losses(
    monkeypatch: pytest.MonkeyPatch, most: int, shots: int, plane: tuple[int, int], temperature: float
) -> None:
    """Three steps of heads that are stacked, in blocks, with more channels than cells, equal those by autograd."""
    monkeypatch.setattr(fit_module, "_PAIRS_IN_CACHE", most)
    generator = torch.Generator().manual_seed(shots)
    shears = [(-18, 7), (4, 20), (0, 0)]
    views = [draw_views(channels, plane, shots, shears, generator) for channels in (6, 6, 500)]
    views = [Views(*(getattr(each, field.name).double() for field in fields(each))) for each in views]
    masks = (torch.rand(3 * shots, 18, 18, generator=generator) > 0.5).double()
    heads = [TaskHead(each.query.shape[1], generator).double() for each in views]
    plain = deepcopy(heads)
    fit(heads, views, masks, shears, steps=3, rate=0.1, temperature=temperature)
    for head, other, each in zip(heads, plain, views, strict=True):
        start = deepcopy(other)
        fit_plainly(other, each, masks, shears, steps=3, rate=0.1, temperature=temperature)
        for one, expected, before in zip(*(h.parameters() for h in (head, other, start)), strict=True):
            assert torch.allclose(
                one, expected, rtol=0, atol=1e-9 + 1e-9 * float((expected - before).detach().abs().max())
            )


def test_fitting_lowers_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    shears = draw_shears(2, 20, generator)
    views = draw_views(6, (9, 9), 1, shears, generator)
    head = TaskHead(6, generator)
    masks = torch.zeros(2, 18, 18)
    masks[:, 4:12, 4:12] = 1
    with torch.no_grad():
        before = float(compute_loss(head, views, masks, shears, 0.5))
        fit([head], [views], masks, shears, steps=25, rate=0.01, temperature=0.5)
        assert float(compute_loss(head, views, masks, shears, 0.5)) < before


@pytest.mark.parametrize("shear", [(12, -7), (0, 20), (-16, 9), (0, 0)])
def test_shears_are_torchvision_s(shear: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, 20, 31, generator=torch.Generator().manual_seed(0))
    expected = affine(maps, 0.0, [0, 0], 1.0, [float(d) for d in shear], InterpolationMode.NEAREST, [0.0])
    assert torch.equal(shear_maps(maps, shear), expected)
    assert torch.equal(shear_maps(maps[0, 0], shear), expected[0, 0])


def test_drawn_shears_are_whole_degrees_within_the_limit() -> None:
    drawn = draw_shears(500, 3, torch.Generator().manual_seed(0))
    assert {d for shear in drawn for d in shear} == set(range(-3, 4))


@pytest.mark.parametrize("seed", range(5))
def test_otsu_equals_a_search_over_all_levels(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.cat([torch.randn(300, generator=generator), 4 + torch.randn(150, generator=generator)])
    low, high = float(values.min()), float(values.max())
    grey = np.floor(((values - low) / (high - low) * 255).numpy())
    grey = grey[grey >= 12]
    spread = []
    for level in range(256):
        below, above = grey[grey <= level], grey[grey > level]
        few = not len(below) or not len(above)
        spread.append(0 if few else len(below) * len(above) * (below.mean() - above.mean()) ** 2)
    assert find_otsu_threshold(values) == pytest.approx(low + int(np.argmax(spread)) / 255 * (high - low))
    assert 0.5 < find_otsu_threshold(values) < 3.5


def test_otsu_of_a_constant_is_the_constant() -> None:
    assert find_otsu_threshold(torch.full((4, 4), 0.25)) == 0.25


def test_carried_masks_follow_the_likeness() -> None:
    support = torch.zeros(1, 2, 4, 4)
    support[:, 0, :, :2], support[:, 1, :, 2:] = 20, 20
    mask = torch.zeros(1, 4, 4)
    mask[:, :, :2] = 1
    result = carry_mask(support.flip(-1), support, mask)
    assert torch.allclose(result[0, 0], mask[0].flip(-1), atol=1e-4)
