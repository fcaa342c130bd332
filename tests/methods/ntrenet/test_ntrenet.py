"""NTRENet's figures, its elimination, its losses and its checkpoints, against the reference's numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fssbench.methods.layers.supervision import compute_resized_loss
from fssbench.methods.ntrenet.elimination import find_distracting
from fssbench.methods.ntrenet.losses import Negatives, compute_background_loss, contrast_loss
from fssbench.methods.ntrenet.method import NTRENet
from small_backbone import check_on_small_backbone
from torch import Tensor
from torch.nn import functional
from undrawn_weights import load_undrawn


def made(tiny: Callable[..., Any]) -> NTRENet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NTRENet(NTRENet.Config(ppm_scales=(6, 3)), tiny()).eval()


def test_parameter_counts() -> None:
    method = load_undrawn("ntrenet", backbone="resnet50", weights="random")
    assert sum(p.numel() for p in method.parameters() if p.requires_grad) == 20_846_868
    assert sum(p.numel() for p in method.parameters()) == 44_478_676
    assert sum(p.numel() for p in method.background.parameters()) == 1_901_314


@torch.no_grad()
def test_maps_and_losses_equal_the_reference(golden: Callable[[str], Any]) -> None:
    reference = golden("ntrenet_resnet50_233")
    method = reference.method("ntrenet", "resnet50")
    query, support, mask = reference.episode(233, 1)
    target = reference.query_mask(233)
    ignore = torch.zeros_like(target)
    features = method.read(query, support)
    assert reference.error("logits_1shot", method.predict(*features, mask), 4) < 1e-4
    predicted = method._predict(*features, mask)
    background = predicted.query.background
    assert reference.error("bg_logits_1shot", background, 1) < 1e-4
    assert reference.error("initial_logits_bin0", predicted.initial[0], 4) < 1e-4
    assert reference.error("inner_logits_bin3", method.enrich.auxiliary(predicted.enriched)[3], 1) < 1e-4
    shares = [float(find_distracting(background, initial).mean()) for initial in predicted.initial]
    assert shares == pytest.approx(reference.file["distracting_share"].tolist(), abs=1e-7)

    main = compute_resized_loss(predicted.enriched.logits, target, ignore)
    assert float(main) == pytest.approx(float(reference.file["loss_main"]), rel=1e-4)
    first, second = (
        float(method.loss(*features, mask, target, ignore, torch.tensor([7])) - main) for _ in range(2)
    )
    assert first == pytest.approx(float(reference.file["loss_rest"]), rel=1e-4)
    contrasts = [float(reference.file[f"loss_contrast_{call}"]) for call in ("first", "second")]
    assert second - first == pytest.approx(0.01 * (contrasts[1] - contrasts[0]), abs=1e-5)
    (negatives,) = method.training_memory().values()
    assert len(negatives) == 4
    assert torch.allclose(negatives[2:], torch.from_numpy(reference.file["bank_first"]), rtol=1e-4, atol=1e-6)


def test_the_background_loss_of_two_images() -> None:
    """Written down pixel by pixel: the object must not be background, and all else counts by half."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 5, 5, generator=generator)
    target = torch.rand(2, 5, 5, generator=generator) < 0.3
    target[1] = False
    entropy = [functional.cross_entropy(logits, torch.full((2, 5, 5), c), reduction="none") for c in (0, 1)]
    on_object = (entropy[0][0][target[0]].mean() + 0) / 2
    expected = on_object + 0.5 * entropy[1].mean()
    assert float(compute_background_loss(logits, target)) == pytest.approx(float(expected), rel=1e-4)


def test_negatives_are_newest_first_and_bounded() -> None:
    negatives = Negatives()
    for first in range(0, 2400, 300):
        negatives.add(3, torch.arange(first, first + 300.0)[:, None].expand(-1, 4))
    assert negatives.by_class[3].shape == (2000, 4)
    assert negatives.by_class[3][[0, 299, 300], 0].tolist() == [2100, 2399, 1800]
    with torch.random.fork_rng(devices=[]):
        drawn = negatives.draw(3)
    assert drawn[:, 0].unique().shape == (1000,)


def test_the_contrast_falls_as_the_vectors_meet() -> None:
    base, negatives = torch.eye(4)[0], torch.eye(4)[1:3]
    near = contrast_loss(base, 2 * base, negatives)
    assert float(near) == pytest.approx(-1 + float(torch.tensor(2.0).log()), abs=1e-6)
    assert contrast_loss(base, -base, negatives) > near


def test_the_class_chooses_the_negatives(tiny: Any, episodes: Any) -> None:
    """Two episodes of one class share a list; of two classes each has its own."""
    query, support, mask = episodes(batch=2, shots=2, size=97)
    target = mask[:, 0] == 1

    def lengths(numbers: Tensor | None) -> dict[str, int]:
        method = made(tiny)
        method.loss(query, support, mask, target, torch.zeros_like(target), numbers)
        return {name: len(vectors) for name, vectors in method.training_memory().items()}

    assert lengths(torch.tensor([2, 5])) == {"negatives.2": 3, "negatives.5": 3}
    assert lengths(torch.tensor([2, 2])) == {"negatives.2": 6}
    assert lengths(None) == {"negatives.0": 6}


@torch.no_grad()
def test_its_memory_is_restored(tiny: Any, episodes: Any) -> None:
    method = made(tiny)
    query, support, mask = episodes(size=97)
    target = mask[:, 0] == 1
    inputs = (query, support, mask, target, torch.zeros_like(target), torch.tensor([1]))
    method.loss(*inputs)
    memory = method.training_memory()
    second = method.loss(*inputs)
    assert method.loss(*inputs) != second
    method.restore_memory(memory)
    assert torch.equal(method.loss(*inputs), second)


@torch.no_grad()
def test_an_object_on_known_background_leaves_nothing_to_eliminate() -> None:
    background, initial = torch.zeros(1, 2, 9, 9), torch.zeros(1, 2, 3, 3)
    initial[:, 1, :, 0] = 1  # the object: the first column
    background[:, 1, :, 6:] = 1  # the background: the last third
    assert find_distracting(background, initial)[0, 0].tolist() == [[0, 1, 0]] * 3


class SmallNTRENet(NTRENet):
    """With scales that fit small inputs."""

    class Config(NTRENet.Config):  # type: ignore[name-defined, misc]
        ppm_scales: tuple[float, ...] = (6, 3)


def test_a_smaller_one_keeps_the_contract() -> None:
    assert not [r for r in check_on_small_backbone(SmallNTRENet) if r.status == "fail"]
