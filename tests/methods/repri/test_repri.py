"""RePRI against its reference's outputs, its inference by definition, and its training on class numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fssbench.methods.repri import RePRI
from fssbench.methods.repri.transduction import Classifier, Task, fit
from shared_passes import run_once
from torch import Tensor
from torch.nn import functional
from undrawn_weights import load_undrawn

import fssbench
from fssbench.errors import UsageError

BASE = {"classes": 3}


@pytest.mark.timeout(300)
@torch.no_grad()
@pytest.mark.parametrize("shots", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_equals_the_reference(golden: Any, shots: int) -> None:
    """Base logits, start, end and prediction of the inference; names and counts.

    The tests below prove several supports by definition.
    """
    file = golden("repri_resnet50_257")
    method = file.method("repri", "resnet50")
    assert isinstance(method, RePRI)
    assert method.provenance.learnable == int(file.file["learnable"])
    method.features = run_once(method.features)  # type: ignore[method-assign]
    query, support, mask = file.episode(257, shots)
    cells = method.features(query)
    assert float(cells.mean()) == pytest.approx(float(file.file["feat_mean"]), rel=1e-5)
    assert float(cells.std()) == pytest.approx(float(file.file["feat_std"]), rel=1e-5)
    grown = functional.interpolate(method.classifier(cells), (257, 257), mode="bilinear", align_corners=True)
    assert file.error("base_logits", grown, 16) < 1e-4

    def close(result: Tensor, field: str) -> None:
        wanted = torch.from_numpy(file.file[field])[0]
        assert (result - wanted).abs().max() <= 1e-4 * wanted.abs().max(), field

    objects = functional.normalize(method.features(support[0]), dim=1)
    inside = functional.interpolate(mask[0].unsqueeze(1), objects.shape[-2:], mode="nearest")[:, 0] == 1
    task = Task.of(cells / cells.norm(dim=1), objects, inside)
    for mark, result in (("0", Classifier.begin(task)), ("", fit(task, steps=49, rate=0.025))):
        close(result.prototype, f"proto{mark}_{shots}shot")
        close(result.bias, f"bias{mark}_{shots}shot")
        close(result.proportion, f"FB{mark}_{shots}shot")
    # of one support through the whole method, of five from what was fitted last
    if shots > 1:
        grown = functional.interpolate(
            result.logits(task.query)[None], (257, 257), mode="bilinear", align_corners=True
        )
        assert file.error("logits_5shot", grown, 4) < 1e-4
        return
    logits = method.predict(query, support, mask)
    assert file.error("logits_1shot", logits[:, 1:], 4) < 1e-4
    assert file.error("probas_1shot", logits.softmax(dim=1), 4) < 1e-4


def task_of(seed: int = 0, shots: int = 2, side: int = 6) -> Task:
    generator = torch.Generator().manual_seed(seed)
    cells, objects = (torch.randn(n, 32, side, side, generator=generator).double() for n in (1, shots))
    mask = torch.zeros(shots, side, side, dtype=torch.bool)
    mask[:, :3, :4] = True
    return Task.of(functional.normalize(cells, dim=1), functional.normalize(objects, dim=1), mask)


def loss_of(result: Classifier, task: Task, share: list[float], weight: float) -> float:
    """The loss written out, cell by cell, with the natural logarithm of NumPy's doubles."""
    import math

    def probability(cell: Tensor) -> float:
        cosine = torch.cosine_similarity(cell, result.prototype, dim=0)
        return 1 / (1 + math.exp(-(20 * float(cosine) - float(result.bias))))

    def cells(maps: Tensor) -> list[Tensor]:
        return [c for image in maps for c in image.flatten(1).T]

    known = [
        -math.log(p if inside else 1 - p)
        for p, inside in zip(map(probability, cells(task.support)), task.mask.flatten().tolist(), strict=True)
    ]
    query = [probability(c) for c in cells(task.query)]
    entropy = [-(p * math.log(p) + (1 - p) * math.log(1 - p)) for p in query]
    mean = sum(query) / len(query)
    divergence = mean * math.log(mean / share[1]) + (1 - mean) * math.log((1 - mean) / share[0])
    shots = len(task.support)
    return sum(known) / len(known) + weight * divergence + sum(entropy) / len(entropy) / shots


def test_steps_go_down_the_loss_as_it_is_defined() -> None:
    task = task_of()
    first = Classifier.begin(task)
    share = first.proportion.tolist()
    losses = [loss_of(first, task, share, 0.5)]
    losses += [loss_of(fit(task, steps=n, rate=0.01), task, share, 0.5) for n in (1, 3, 8)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.99 * losses[0]
    # one step is the rate times the gradient, here of the bias by a difference quotient
    step, rate = 1e-3, 0.01
    sides = [
        loss_of(Classifier(first.prototype, first.bias + d, first.proportion), task, share, 0.5)
        for d in (step, -step)
    ]
    moved = float(fit(task, steps=1, rate=rate).bias - first.bias)
    assert moved == pytest.approx(-rate * (sides[0] - sides[1]) / (2 * step), rel=1e-4)


def test_the_proportion_is_estimated_again_after_the_ninth_step() -> None:
    task = task_of(1)
    first = Classifier.begin(task).proportion
    assert torch.equal(fit(task, steps=8, rate=0.1).proportion, first)
    ninth = fit(task, steps=9, rate=0.1)
    assert torch.allclose(ninth.proportion, ninth.probabilities(task.query).mean(dim=(0, 2, 3)))
    assert torch.equal(fit(task, steps=30, rate=0.1).proportion, ninth.proportion)


def test_cells_that_do_not_count_move_nothing_but_the_start() -> None:
    """As the reference's padding: left out of entropy, proportion and cross-entropy; the bias sees them."""
    task = task_of(2)
    query_valid, support_valid = task.query_valid.clone(), task.support_valid.clone()
    query_valid[:, 0] = False
    support_valid[:, -2:] = False
    masked = Task(task.query, task.support, task.mask, query_valid, support_valid)
    noise = functional.normalize(
        torch.randn(2, 32, 2, 6, generator=torch.Generator().manual_seed(9)).double(), dim=1
    )
    support = torch.cat([task.support[:, :, :-2], noise], dim=2)
    other = Task(task.query, support, task.mask, query_valid, support_valid)
    a, b = (fit(t, steps=20, rate=0.05) for t in (masked, other))
    assert torch.equal(a.prototype, b.prototype)
    assert torch.equal(a.bias, b.bias)
    assert not torch.equal(a.bias, fit(task, steps=20, rate=0.05).bias)


def method_on(tiny: Any, **config: Any) -> RePRI:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return RePRI(RePRI.Config(**{**BASE, **config}), tiny()).eval()


@torch.no_grad()
@pytest.mark.parametrize("shots", [1, 3])
def test_episodes_leave_nothing_behind(tiny: Any, episodes: Any, shots: int) -> None:
    """Two orders, equal results; weights, buffers and generators stay as they were."""
    method = method_on(tiny)
    several = [episodes(shots=shots, seed=seed, size=97) for seed in range(3)]
    before = {k: v.clone() for k, v in method.state_dict().items()}
    drawn = torch.get_rng_state()
    forward = [method.predict(*e) for e in several]
    backward = [method.predict(*several[i]) for i in (2, 1, 0)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not forward[0].requires_grad
    assert all(torch.equal(v, before[k]) for k, v in method.state_dict().items())
    assert not torch.equal(forward[0], method_on(tiny, steps=0).predict(*several[0]))


@torch.no_grad()
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_masks_of_one_value_give_numbers(tiny: Any, episodes: Any, value: float) -> None:
    query, support, mask = episodes(shots=2)
    assert method_on(tiny).predict(query, support, torch.full_like(mask, value)).isfinite().all()


def test_the_base_network_learns_class_numbers(tiny: Any) -> None:
    """Colours as classes; encoder, norms and classifier all learn, the frozen backbone does not."""
    torch.manual_seed(0)
    method = RePRI(RePRI.Config(classes=2), tiny()).train()
    images, target = 0.3 * torch.randn(4, 3, 64, 64), torch.zeros(4, 64, 64, dtype=torch.long)
    for i in range(4):
        number = 1 + i % 2
        images[i, number, :, :32] += 2
        target[i, :, :32] = number
    ignore = torch.zeros(4, 64, 64, dtype=torch.bool)
    learnt = [p for p in method.parameters() if p.requires_grad]
    frozen = {k: v.clone() for k, v in method.backbone.state_dict().items()}  # type: ignore[union-attr]
    optimiser = torch.optim.Adam(learnt, lr=2e-3)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = method.loss(images, images[:, None], target[:, None].float(), target, ignore)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    # the tiny backbone runs all its blocks, also those behind no tap
    assert all(p.grad is not None for n, p in method.named_parameters() if p.requires_grad), "no gradient"
    assert all(torch.equal(v, frozen[k]) for k, v in method.backbone.state_dict().items())  # type: ignore[union-attr]


def test_smoothing_goes_to_the_other_classes(tiny: Any) -> None:
    method = method_on(tiny)
    images, target = torch.randn(2, 3, 64, 64), torch.randint(0, 4, (2, 64, 64))
    ignore = torch.rand(2, 64, 64) < 0.3
    with torch.no_grad():
        loss = method.loss(images, None, None, target, ignore)  # type: ignore[arg-type]
        logits = functional.interpolate(
            method.classifier(method.features(images)), (64, 64), mode="bilinear", align_corners=True
        )
    truth = functional.one_hot(target, 4).movedim(-1, 1).float()
    wanted = torch.where(truth == 1, 0.9, 0.1 / 3)
    each = -(wanted * logits.log_softmax(dim=1)).sum(dim=1)
    expected = torch.stack([e[~i].mean() for e, i in zip(each, ignore, strict=True)]).mean()
    assert torch.allclose(loss, expected, rtol=1e-5)


def test_too_few_classes_and_too_small_batches_are_told(tiny: Any) -> None:
    method = method_on(tiny)
    images, target = torch.randn(1, 3, 64, 64), torch.full((1, 64, 64), 4)
    nothing = torch.zeros(1, 64, 64, dtype=torch.bool)
    with pytest.raises(UsageError, match="has 3 classes.*taught number 4.*--set classes=N"):
        method.loss(images, None, None, target, nothing)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="two images a forward"):
        method.train().loss(images, None, None, target - 1, nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("backbone", "classes", "layout"), [("resnet50", 60, "deepstem"), ("vgg16", 15, "batchnorm")]
)
def test_the_authors_file_loads_and_brings_its_classes(
    backbone: str, classes: int, layout: str, tmp_path: Path
) -> None:
    first = fssbench.load_method("repri", backbone=backbone, weights="random", seed=1, classes=classes)
    state: dict[str, Tensor] = {}
    for name, value in first.state_dict().items():
        theirs = name.removeprefix("encoder.network.").removeprefix("pyramid.")
        if theirs.startswith("pools."):
            _, place, layer, leaf = theirs.split(".")
            theirs = f"ppm.features.{place}.{int(layer) + 1}.{leaf}"
        if not name.startswith("backbone."):
            state[f"module.{theirs}"] = value
    torch.save({"epoch": 100, "state_dict": state, "optimizer": {}}, tmp_path / "best.pth")
    again = load_undrawn("repri", backbone=backbone, checkpoint=tmp_path / "best.pth", seed=2)
    assert again.backbone is not None
    assert again.backbone.layout == layout
    assert again.config.classes == classes  # type: ignore[attr-defined]
    expected = first.state_dict()
    for name, value in again.state_dict().items():
        twin = name.replace("backbone.", "encoder.network.")
        assert torch.equal(value, expected[twin]), name
