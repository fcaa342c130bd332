"""DR-Adapter against its reference's outputs (dradapter_resnet50_320), its statistics, its training, and small maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from fssbench.methods.dr_adapter import DRAdapter, DRAdapterConfig
from fssbench.methods.dr_adapter.encoder import CutEncoder
from fssbench.methods.dr_adapter.method import _Trace
from fssbench.methods.dr_adapter.perturbation import Noise, Perturbation, TrainingStyle
from fssbench.methods.dr_adapter.rectification import (
    SMALLEST_SIDE,
    Adapter,
    Statistics,
    ask_adapter,
    measure,
    rectify,
    replace_statistics,
)
from fssbench.methods.ssp import SSP
from torch import Tensor, nn
from vit_goldens import load_vit_recipe, open_modern_golden

import fssbench
from fssbench.api import Backbone, DataError, Method, UsageError
from fssbench.plugins.registry import BACKBONES

FILES = ("dradapter_resnet50_320",)
SMALL = 160
"""Side of inputs at which the tiny backbone has maps of 80, 40 and 20 cells at its cuts."""
SMALLER = 84
"""Side at which its first adapter is used alone."""


class Case:
    """A file of reference outputs, its weights and its episode."""

    def __init__(self, shared: Path, name: str) -> None:
        self.file = open_modern_golden(shared, name)
        self._draw = load_vit_recipe(shared)
        self.tag, self.size = str(self.file["tag"]), int(self.file["size"])
        *episode, query_mask = self._draw.episode(self.tag, self.size, 5, float(self.file["contrast"]))
        self.query, self.support, self.masks = episode
        self.query_mask = query_mask[None] > 0.5

    @property
    def recipe(self) -> ModuleType:
        """The module whose values are the weights."""
        module: ModuleType = self._draw.recipe
        return module

    def read_weights(self, *prefixes: str) -> dict[str, Tensor]:
        """Weights whose names in the authors' layout begin with one of the prefixes."""
        state = {}
        for name, text in zip(map(str, self.file["names"]), map(str, self.file["shapes"]), strict=True):
            if name.startswith(prefixes):
                shape = tuple(int(n) for n in text.split(",") if n)
                values = self.recipe.values(name, shape, str(self.file["salt"]))
                is_kernel = name.startswith("DR_Adapter") and len(shape) == 4
                state[name] = values * float(self.file["gain"]) if is_kernel else values
        return state

    def draw_noise(self, name: str, channels: int, deviation: float) -> Tensor:
        values = self.recipe.values(f"{self.tag}/{name}", (1, channels, 1, 1))
        noise: Tensor = deviation * values / values.std()
        return noise

    def perturb(self, mode: str, centres: list[Statistics]) -> list[Perturbation] | None:
        """The perturbation of each cut in one of the file's four modes."""
        if mode == "none":
            return None
        cuts = []
        for cut, centre in enumerate(centres):
            count = centre.mean.shape[1]
            local = [self.draw_noise(f"noise{2 * cut + i}", count, 0.75) for i in range(2)]
            whole = [self.draw_noise(f"global{cut}{letter}", count, 1.0) for letter in "ab"]
            cuts.append(
                Perturbation(
                    Noise(*local) if mode in ("local", "both") else None,
                    Noise(*whole) if mode in ("global", "both") else None,
                    centre if mode in ("global", "both") else None,
                )
            )
        return cuts


def assert_close(result: Tensor, expected: np.ndarray) -> None:
    wanted = torch.from_numpy(expected)
    assert float((result.detach() - wanted).abs().max()) <= 1e-4 * float(wanted.abs().max())


def build(tiny: Callable[..., Any], **config: Any) -> DRAdapter:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return DRAdapter(DRAdapterConfig(**config), tiny()).eval()


@pytest.mark.parametrize("name", FILES)
@torch.no_grad()
def test_the_first_adapter_answers_as_the_reference(name: str, shared: Path) -> None:
    """Stem and first adapter alone, which take little time; the slow test compares all of the file."""
    case = Case(shared, name)
    backbone = BACKBONES.get("resnet50").from_layout("ssp")
    backbone.randomise(0)
    encoder = CutEncoder(backbone)
    stem = case.read_weights("layer0.")
    named = {f"network.{name}": value for name, value in backbone.own_names(stem).items()}
    assert not named.keys() & set(encoder.load_state_dict(named, strict=False).unexpected_keys)
    adapter = Adapter(encoder.channels[0])
    prefix = "DR_Adapter.0."
    adapter.load_state_dict({n.removeprefix(prefix): v for n, v in case.read_weights(prefix).items()})
    answer = measure(adapter(encoder._start(case.query)))
    assert_close(answer.mean.flatten(), case.file["beta_layer0"])
    assert_close(answer.variance.flatten(), case.file["alpha_layer0"])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", FILES)
def test_equals_the_reference(name: str, shared: Path) -> None:
    """Counts, logits, statistics, and losses with gradients of four kinds of training forwards."""
    case = Case(shared, name)
    method = fssbench.load_method("dr-adapter", backbone="resnet50", weights="random")
    assert isinstance(method, DRAdapter)
    method.load_reference(case.read_weights(""))
    assert sum(p.numel() for p in method.adapters.parameters()) == int(case.file["learnable"])
    assert method.provenance.learnable == int(case.file["total"]) == method.card.learnable
    stride = int(case.file["stride"])
    with torch.no_grad():
        for shots in (1, 5):
            logits = method.predict(case.query, case.support[:, :shots], case.masks[:, :shots])
            assert_close(logits[..., ::stride, ::stride], case.file[f"logits_{shots}shot"])
        measured = [measure_cuts(method, images) for images in (case.query, case.support[:, 0])]
    for cut, (query, support) in enumerate(zip(*measured, strict=True)):
        assert_close(query.answer.mean.flatten(), case.file[f"beta_layer{cut}"])
        assert_close(query.answer.variance.flatten(), case.file[f"alpha_layer{cut}"])
        for kind, field in enumerate(("stat_mean", "stat_var")):
            size = torch.cat([query.given[kind], support.given[kind]]).abs().mean()
            assert float(size) == pytest.approx(float(case.file[field][cut]), rel=1e-4)
    cells = method.encoder.run(case.query, method._rectify)
    assert_close(cells[0, ::32, ::2, ::2], case.file["feat_query"])
    centres = [
        Statistics(*((a + b) / 2 for a, b in zip(query.given, support.given, strict=True)))
        for query, support in zip(*measured, strict=True)
    ]
    names = {n: p for n, p in method.named_parameters() if p.requires_grad}
    watched = (
        "adapters.0.0.weight",
        "adapters.1.3.weight",
        "adapters.2.6.weight",
        "encoder.network.layer0.0.weight",
        "encoder.network.layer3.5.conv3.weight",
    )
    for mode in ("none", "local", "global", "both"):
        method.zero_grad(set_to_none=True)
        inputs = (case.query, case.support[:, :1], case.masks[:, :1])
        ignore = torch.zeros_like(case.query_mask)
        terms = method.compute_losses(*inputs, case.query_mask, ignore, case.perturb(mode, centres))
        assert_close(torch.stack(terms), case.file[f"losses_{mode}"])
        (terms.main + terms.own + 0.2 * terms.support + 2 * terms.cyclic).backward()
        gradients = [names[name].grad for name in watched]
        norms = torch.stack([g.norm() if g is not None else torch.zeros(()) for g in gradients])
        assert_close(norms, case.file[f"grads_{mode}"])


class Measured:
    """The statistics of a map at a cut, and the answer of the adapter."""

    def __init__(self, maps: Tensor, adapter: nn.Module) -> None:
        self.given, self.answer = measure(maps), measure(adapter(maps))


def measure_cuts(method: DRAdapter, images: Tensor) -> list[Measured]:
    cuts = []

    def change(cut: int, maps: Tensor) -> Tensor:
        cuts.append(Measured(maps, method.adapters[cut]))
        return rectify(maps, method.adapters[cut]).maps

    method.encoder.run(images, change)
    return cuts


@torch.no_grad()
def test_rectified_maps_have_the_statistics_that_were_asked_for() -> None:
    torch.manual_seed(0)
    maps, adapter = 3 + 2 * torch.randn(2, 5, 40, 44), Adapter(5)
    rectified = rectify(maps, adapter)
    actual = measure(rectified.maps)
    assert torch.allclose(actual.mean, rectified.statistics.mean, rtol=1e-4)
    # the variance enters the factor whole, so the result has it times the square of the factor
    factor = rectified.statistics.variance / measure(maps).variance
    assert bool((factor >= 1).all())
    assert torch.allclose(actual.variance, measure(maps).variance * factor.square(), rtol=1e-3)
    answer = measure(adapter(maps))
    assert torch.allclose(rectified.statistics.mean, (1 + answer.mean) * measure(maps).mean, rtol=1e-4)


def test_no_gradient_reaches_maps_through_the_adapter() -> None:
    torch.manual_seed(0)
    maps, adapter = torch.randn(1, 3, 39, 39, requires_grad=True), Adapter(3)
    given = Statistics(torch.ones(1, 3, 1, 1), torch.ones(1, 3, 1, 1))
    ask_adapter(maps, given, adapter).mean.sum().backward()
    assert maps.grad is None
    assert all(p.grad is not None for p in adapter.parameters())


def test_perturbations_are_those_of_the_paper() -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 6, 7) + 1
    noise = Noise(torch.randn(2, 3, 1, 1), torch.randn(2, 3, 1, 1))
    mean = maps.mean(dim=(2, 3), keepdim=True)
    local = Perturbation(noise, None, None)
    expected = (1 + noise.scale) * (maps - mean) + (1 + noise.shift) * mean
    assert torch.allclose(local.apply(maps), expected, atol=1e-5)
    centre = Statistics(torch.randn(1, 3, 1, 1), torch.rand(1, 3, 1, 1))
    shared = Perturbation(None, noise, centre)
    expected = (1 + noise.scale) * (maps - centre.mean) + (1 + noise.shift) * centre.mean
    assert torch.allclose(shared.apply(maps), expected, atol=1e-5)
    assert torch.equal(shared.find_target(maps).variance, centre.variance.expand(2, -1, -1, -1))
    assert torch.allclose(local.find_target(maps).mean, mean)
    assert Perturbation(noise, Noise(noise.shift, noise.scale), centre).noise is noise
    assert local.of_supports(3).noise.scale.shape == (6, 3, 1, 1)
    again, statistics = local.perturb_again(maps, measure(maps))
    assert torch.allclose(again, replace_statistics(maps, measure(maps), statistics))


def test_shared_noise_lasts_and_local_noise_does_not() -> None:
    torch.manual_seed(0)
    style = TrainingStyle((2, 3), lasting=20)
    device = torch.device("cpu")

    def draw_many(count: int) -> list[list[Perturbation]]:
        drawn = [style.draw(2, device, ("local", "global")) for _ in range(count)]
        return [each for each in drawn if each is not None]

    assert all(cuts[0].shared is None for cuts in draw_many(20))  # nothing is known of the images yet
    for cut, channels in enumerate((2, 3)):
        style.add(cut, Statistics(torch.full((4, channels, 1, 1), 5.0), torch.ones(4, channels, 1, 1)))
    drawn = draw_many(200)
    assert 100 < len(drawn) < 190  # three quarters
    shared = {tuple(cuts[1].shared.scale.flatten().tolist()) for cuts in drawn if cuts[1].shared is not None}
    local = {tuple(cuts[1].local.scale.flatten().tolist()) for cuts in drawn if cuts[1].local is not None}
    assert 4 <= len(shared) <= 7  # about a hundred uses, and twenty of each
    assert len(local) > 70
    centres = [cuts[0].centre for cuts in drawn if cuts[0].centre is not None]
    assert all(torch.allclose(centre.mean, torch.tensor(5.0)) for centre in centres)
    kept = style.store()
    other = TrainingStyle((2, 3), lasting=20)
    other.restore(kept)
    torch.manual_seed(3)
    first = draw_many(10)
    torch.manual_seed(3)
    style = other
    assert all(
        torch.equal(a[1].noise.scale, b[1].noise.scale) for a, b in zip(first, draw_many(10), strict=True)
    )


@torch.no_grad()
@pytest.mark.parametrize("shots", [1, 3])
def test_laws_of_a_method(shots: int, tiny: Callable[..., Any], episodes: Any) -> None:
    """Batches, order, repeated supports, and that weights and generators stay as they were."""
    method = build(tiny)
    query, support, mask = episodes(batch=2, shots=shots, size=SMALL)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    generator = torch.get_rng_state()
    usual = method.predict(query, support, mask)
    assert usual.shape == (2, 2, SMALL, SMALL)
    assert usual.isfinite().all()
    apart = [method.predict(query[b, None], support[b, None], mask[b, None]) for b in range(2)]
    assert torch.allclose(torch.cat(apart), usual, atol=1e-3)
    assert torch.allclose(method.predict(query, support.flip(1), mask.flip(1)), usual, atol=1e-3)
    twice = method.predict(query, support.repeat(1, 2, 1, 1, 1), mask.repeat(1, 2, 1, 1))
    assert torch.allclose(twice, usual, atol=1e-3)
    assert not torch.allclose(method.predict(query, support, 1 - mask), usual, atol=1e-2)
    for value in (0.0, 1.0):
        assert method.predict(query, support, torch.full_like(mask, value)).isfinite().all()
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


@torch.no_grad()
def test_without_rectification_it_is_ssp(tiny: Callable[..., Any], episodes: Any) -> None:
    inputs = episodes(batch=2, shots=2, size=SMALL)
    plain = SSP(SSP.Config(), tiny()).eval().predict(*inputs)
    assert torch.allclose(build(tiny, rectify=False).predict(*inputs), plain, atol=1e-4)
    assert not torch.allclose(build(tiny).predict(*inputs), plain, atol=1e-2)


def cut_sides(method: DRAdapter, size: int) -> list[int]:
    sides = []

    def note(_: int, maps: Tensor) -> Tensor:
        sides.append(maps.shape[-1])
        return maps

    method.encoder.run(torch.zeros(1, 3, size, size), note)
    return sides


@torch.no_grad()
def test_maps_that_are_too_small_are_left_alone_or_refused(tiny: Callable[..., Any], episodes: Any) -> None:
    method = build(tiny)
    size = 2 * SMALLEST_SIDE - 2
    assert max(cut_sides(method, size)) == SMALLEST_SIDE - 1
    inputs = episodes(size=size)
    assert torch.equal(method.predict(*inputs), build(tiny, rectify=False).predict(*inputs))
    with pytest.raises(DataError, match=r"37 x 37 cells.*38 x 38"):
        build(tiny, small="refuse").predict(*inputs)
    inputs = episodes(size=size + 2)
    assert not torch.equal(method.predict(*inputs), build(tiny, rectify=False).predict(*inputs))


def take_loss(method: Method, inputs: Any, seed: int) -> Tensor:
    query, support, mask = inputs
    target = mask[:, 0].bool()
    torch.manual_seed(seed)
    return method.loss(query, support, mask, target, torch.zeros_like(target))


def test_each_learnable_parameter_gets_a_gradient_in_every_kind_of_forward(
    tiny: Callable[..., Any], episodes: Any
) -> None:
    method = build(tiny).train()
    inputs = episodes(batch=2, shots=2, size=SMALL)
    learnable = {name: p for name, p in method.named_parameters() if p.requires_grad}
    assert not any(name.startswith("backbone.") for name in learnable)
    # the fourth stage is not run
    assert not any(name.startswith("encoder.network.blocks.4") for name in learnable)
    reached = set()
    for seed in range(6):
        method.zero_grad(set_to_none=True)
        take_loss(method, inputs, seed).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in learnable.values())
        reached |= {bool(learnable["adapters.0.0.weight"].grad.any())}  # type: ignore[union-attr]
    assert reached == {True, False}  # perturbed forwards and plain ones


def test_the_adapters_learn_to_undo_a_perturbation(tiny: Callable[..., Any], episodes: Any) -> None:
    query, support, mask = episodes(batch=2, size=SMALLER)
    target, method = mask[:, 0].bool(), build(tiny)
    generator = torch.Generator().manual_seed(0)
    noise = [Noise(*(0.5 * torch.randn(2, 2, n, 1, 1, generator=generator))) for n in method.encoder.channels]
    cuts = [Perturbation(each, None, None) for each in noise]
    optimiser = torch.optim.Adam(method.adapters.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        terms = method.compute_losses(query, support, mask, target, torch.zeros_like(target), cuts)
        terms.cyclic.backward()
        optimiser.step()
        losses.append(float(terms.cyclic.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_a_relative_distance_does_not_depend_on_the_size_of_the_maps() -> None:
    wanted, answer = torch.rand(2, 4, 1, 1), torch.rand(2, 4, 1, 1)
    for relative in (True, False):
        trace = [_Trace(relative=relative) for _ in range(2)]
        for factor, each in zip((1, 1000), trace, strict=True):
            pair = (
                Statistics(factor * wanted, factor * wanted),
                Statistics(factor * answer, factor * answer),
            )
            each.add(0, pair[0], pair[1], pair[1])
        first, second = (float(each.compute_loss(wanted)) for each in trace)
        assert second == pytest.approx(first if relative else 1000 * first, rel=1e-4)


def test_a_training_step_is_repeated_from_its_memory(tiny: Callable[..., Any], episodes: Any) -> None:
    inputs = episodes(batch=2, size=SMALLER)
    first = build(tiny).train()
    take_loss(first, inputs, 0)
    memory = first.training_memory()
    kept = {name: value.clone() for name, value in memory.items()}
    losses = [float(take_loss(first, inputs, seed).detach()) for seed in range(3)]
    assert all(torch.equal(value, kept[name]) for name, value in memory.items())
    second = build(tiny).train()
    second.restore_memory(memory)
    assert [float(take_loss(second, inputs, seed).detach()) for seed in range(3)] == losses


def test_ablations_change_what_they_say(tiny: Callable[..., Any], episodes: Any) -> None:
    inputs = episodes(batch=2, size=SMALLER)

    def losses_of(name: str | None) -> list[float]:
        settings = {} if name is None else DRAdapterConfig.ablations[name].settings
        method = build(tiny, **settings).train()
        return [float(take_loss(method, inputs, seed).detach()) for seed in range(6)]

    usual = losses_of(None)
    for name in ("local", "global", "cyclic"):
        assert losses_of(name) != usual, name
    assert losses_of("rectification") == usual  # it only has an effect at test time


def test_a_backbone_without_parts_is_told(tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny()
    monkeypatch.setattr(type(backbone), "part", Backbone.part)  # as that of a transformer
    with pytest.raises(UsageError, match="cannot be taken apart"):
        DRAdapter(DRAdapterConfig(), backbone)


@pytest.mark.parametrize(
    ("backbone", "channels"), [("efficientnet-lite0", (16, 24, 40)), ("vgg16", (128, 256, 512))]
)
def test_other_backbones_are_cut_before_their_stages(backbone: str, channels: tuple[int, ...]) -> None:
    network = BACKBONES.get(backbone).from_layout("standard")
    assert CutEncoder(network).channels == channels
