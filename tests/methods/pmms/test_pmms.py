"""PMMs against its reference's outputs, the mixture by definition, names and counts of every published form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fssbench.methods.pmms import PMMs
from fssbench.methods.pmms.mixture import compute_shares, draw_directions, fit_mixture
from torch import Tensor
from torch.nn import functional
from undrawn_weights import load_undrawn

import fssbench


@torch.no_grad()
def test_equals_the_reference(golden: Any) -> None:
    file = golden("pmms_FPMMs_257")
    method = file.method("pmms", "resnet50")
    assert method.config.variant == "pmms"
    assert method.provenance.learnable == int(file.file["learnable"])
    assert method.provenance.parameters == int(file.file["total"])
    query, support, mask = file.episode(257, 5)
    cells, objects = method.read(query, support)
    for shots, field in ((1, "logits_1shot"), (5, "out_5shot")):
        given = {tap: maps[:, :shots] for tap, maps in objects.items()}
        assert file.error(field, method.logits(cells, given, mask[:, :shots]), 1) < 1e-4


@pytest.mark.parametrize(
    ("backbone", "variant", "head", "total", "tuned"),
    [
        ("resnet50", "pmms", 11_086_594, 19_629_890, 8_290_304),
        ("resnet50", "rpmms", 11_089_666, 19_632_962, 8_290_304),
        ("vgg16", "pmms", 8_727_298, 25_801_794, 14_454_528),
    ],
)
def test_parameter_counts(backbone: str, variant: str, head: int, total: int, tuned: int) -> None:
    """Published counts; of a VGG the authors count the last convolution, which is ours here, to the encoder."""
    own = 2_359_808 if backbone == "vgg16" else 0
    made = load_undrawn("pmms", backbone=backbone, weights="random", variant=variant)
    assert made.provenance.learnable - own == head
    assert made.provenance.parameters == total
    learning = load_undrawn("pmms", backbone=backbone, weights="random", variant=variant, encoder="tuned")
    assert learning.provenance.learnable - own - head == tuned


def _release_name(own: str, prefix: str) -> str:
    """The authors' name, written out from their layout."""
    part, _, rest = own.partition(".")
    if part in {"refine", "context"}:
        index, rest = rest.removeprefix("branches.").split(".", 1)
        return f"residule{int(index) + 1}.{rest}" if part == "refine" else f"layer6.layer6_{index}.{rest}"
    layers = {
        "describe": "layer5",
        "compare": "layer55",
        "merge": "layer56",
        "narrow": "layer7",
        "classify": "layer9",
        "backbone": prefix,
        "last": f"{prefix}.cls.0",
    }
    return f"{layers[part]}.{rest}"


@pytest.mark.parametrize("encoder", ["frozen", "tuned"])
@pytest.mark.parametrize(
    ("backbone", "variant", "prefix"),
    [
        ("resnet50", "rpmms", "model_res"),
        ("resnet50", "pmms", "model_res"),
        ("vgg16", "pmms", "model_backbone"),
    ],
)
def test_the_authors_file_loads(
    backbone: str, variant: str, prefix: str, encoder: str, tmp_path: Path
) -> None:
    first = fssbench.load_method("pmms", backbone=backbone, weights="random", seed=1, variant=variant)
    state = {_release_name(k, prefix): v for k, v in first.state_dict().items()}
    torch.save({"step": 1, "state_dict": state, "optimizer": {}}, tmp_path / "step_1.pth.tar")
    again = load_undrawn(
        "pmms", backbone=backbone, checkpoint=tmp_path / "step_1.pth.tar", seed=2, encoder=encoder
    )
    assert again.config.variant == variant  # type: ignore[attr-defined]
    own = again.state_dict()
    assert all(torch.equal(own[k], v) for k, v in first.state_dict().items())
    episode = torch.randn(1, 3, 97, 97), torch.randn(1, 2, 3, 97, 97), torch.zeros(1, 2, 97, 97)
    episode[2][..., 20:60, 30:70] = 1
    with torch.no_grad():
        assert torch.allclose(again.predict(*episode), first.predict(*episode), atol=1e-5)


def test_em_is_its_definition() -> None:
    """Two rounds are not asked for; ten, with plain sums over cells and components."""
    generator = torch.Generator().manual_seed(0)
    cells = torch.randn(1, 4, 7, generator=generator, dtype=torch.float64)
    centres = [c / c.norm() for c in torch.randn(3, 4, generator=generator, dtype=torch.float64)]
    result = fit_mixture(cells, torch.stack(centres, dim=1)[None])
    points = list(cells[0].T)
    for _ in range(10):
        shares = [torch.stack([20 * p @ c for c in centres]).softmax(0) for p in points]
        sums = [sum(s[k] * p for s, p in zip(shares, points, strict=True)) for k in range(3)]
        centres = [s / s.norm() for s in sums if isinstance(s, Tensor)]
    assert torch.allclose(result[0].T, torch.stack(centres), atol=1e-4)


def test_em_finds_the_directions_cells_have() -> None:
    generator = torch.Generator().manual_seed(1)
    truth = torch.linalg.qr(torch.randn(6, 3, generator=generator))[0]
    cells = truth[:, torch.arange(300) % 3] + 0.05 * torch.randn(6, 300, generator=generator)
    begin = truth + 0.3 * torch.randn(6, 3, generator=generator)
    result = fit_mixture(cells[None], begin[None])[0]
    assert ((truth.T @ result).abs().amax(dim=0) > 0.99).all()


def test_starts_are_unit_vectors_that_a_word_decides() -> None:
    one = draw_directions("", 256, 3)
    assert torch.allclose(one.norm(dim=1), torch.ones(1, 3), atol=1e-5)
    assert torch.equal(one, draw_directions("", 256, 3))
    assert not torch.allclose(one, draw_directions("other", 256, 3))
    assert not torch.allclose(one[..., :1], draw_directions("", 256, 1))


def test_probabilities_are_shares_of_all_components() -> None:
    generator = torch.Generator().manual_seed(2)
    cells = torch.randn(1, 4, 2, 3, generator=generator)
    fore, back = (torch.randn(1, 4, 3, generator=generator) for _ in range(2))
    result = compute_shares(cells, fore, back)
    assert torch.allclose(result.sum(dim=1), torch.ones(1, 2, 3))
    weights = [torch.exp(part[0].T @ cells[0, :, 1, 2]) for part in (back, fore)]
    expected = torch.stack([w.sum() for w in weights]) / sum(w.sum() for w in weights)
    assert torch.allclose(result[0, :, 1, 2], expected)


def build(tiny: Any, **config: Any) -> PMMs:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return PMMs(PMMs.Config(**config), tiny()).eval()


def watch_stages(method: PMMs) -> list[Tensor]:
    """Return a list to which each forward pass adds the logits of its stages."""
    stages: list[Tensor] = []
    method.classify.register_forward_hook(lambda module, given, logits: stages.append(logits))
    return stages


@torch.no_grad()
def test_stages_inform_each_other_and_are_added_up_with_several_supports(tiny: Any, episodes: Any) -> None:
    method = build(tiny)
    query, support, mask = episodes(shots=2)
    stages = watch_stages(method)
    logits = method.logits(*method.read(query, support), mask)
    assert len(stages) == 3
    expected = sum(each.softmax(dim=1) for each in stages) / 5
    assert torch.allclose(logits, torch.as_tensor(expected))
    assert not torch.allclose(stages[0], stages[1])
    stages.clear()
    assert method.logits(*method.read(query, support[:, :1]), mask[:, :1]) is stages[-1]
    assert len(stages) == 3


@torch.no_grad()
def test_another_start_is_another_prediction(tiny: Any, episodes: Any) -> None:
    inputs = episodes()
    usual = build(tiny).predict(*inputs)
    assert not torch.equal(build(tiny, start="again").predict(*inputs), usual)


def test_the_loss_sums_over_stages_and_counts_every_pixel(tiny: Any, episodes: Any) -> None:
    method = build(tiny)
    query, support, mask = episodes(batch=2)
    target, ignore = mask[:, 0].bool(), torch.ones(2, 64, 64, dtype=torch.bool)
    stages = watch_stages(method)
    with torch.no_grad():
        loss = method.loss(query, support, mask, target, ignore)
    grown = [functional.interpolate(logits, (64, 64), mode="bilinear") for logits in stages]
    assert len(grown) == 3
    expected = sum(functional.cross_entropy(logits, target.long()) for logits in grown)
    assert torch.allclose(loss, torch.as_tensor(expected))


@pytest.mark.parametrize("encoder", ["frozen", "tuned"])
def test_the_loss_falls_and_rates_go_by_part(tiny: Any, episodes: Any, encoder: str) -> None:
    torch.manual_seed(0)
    method = build(tiny, encoder=encoder, variant="pmms").train()
    learnt = {n: p for n, p in method.named_parameters() if p.requires_grad}
    factors = {n: method.rate_factor(n) for n in learnt}
    assert {f for n, f in factors.items() if not n.startswith("tuned.")} == {10, 20}
    assert {f for n, f in factors.items() if n.startswith("tuned.")} == (
        {1, 2} if encoder == "tuned" else set()
    )
    optimiser = torch.optim.SGD(
        [{"params": [p], "lr": 2e-3 * factors[n]} for n, p in learnt.items()], lr=1, momentum=0.9
    )
    query, support, mask = episodes(batch=2)
    nothing = torch.zeros(2, 64, 64, dtype=torch.bool)
    losses = []
    for _ in range(10):
        optimiser.zero_grad()
        loss = method.loss(query, support, mask, mask[:, 0].bool(), nothing)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(p.grad is not None for p in learnt.values())
