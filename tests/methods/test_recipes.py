"""Published recipes, and that each trainable method learns: its loss falls on episodes of the miniature."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from small_backbone import register_small_backbone

import fssbench
from fssbench.api import Method
from fssbench.data.location import open_dataset
from fssbench.evaluation.feature_cache import FeatureCache
from fssbench.evaluation.inputs import Inputs
from fssbench.plugins.registry import METHODS
from fssbench.training.batches import Batch, Batches
from fssbench.training.episodes import EpisodeStream, TrainingSet, collect_training_set
from fssbench.training.loss import Loss
from fssbench.training.processes import join_workers
from fssbench.training.state import list_learnable

PUBLISHED = {
    "pmnet": ("sgd", 1e-3, 36, 1e-4),
    "hsnet": ("adam", 1e-3, 20, 0),
    "hm": ("adam", 1e-3, 20, 0),
    "patnet": ("adam", 1e-3, 20, 0),
    "fecanet": ("adam", 1e-3, 20, 0),
    "dcama": ("sgd", 1e-3, 48, 1e-4),
    "abcnet": ("sgd", 1e-3, 48, 1e-4),
    "vat": ("adamw", 5e-4, 16, 0),
    "dr-adapter": ("sgd", 1e-3, 4, 5e-4),
    "ssp": ("sgd", 1e-3, 4, 5e-4),
    "ifa": ("sgd", 1e-3, 12, 5e-4),
    "pfenet": ("sgd", 2.5e-2, 4, 1e-4),
    "scl": ("sgd", 2.5e-2, 4, 1e-4),
    "asgnet": ("sgd", 2.5e-2, 4, 1e-4),
    "bam": ("sgd", 5e-2, 8, 1e-4),
    "ntrenet": ("sgd", 2.5e-2, 4, 1e-4),
    "aaformer": ("sgd", 0.0375, 6, 1e-4),
    "cyctr": ("sgd", 0.0375, 4, 1e-4),
    "ipmt": ("sgd", 0.0375, 4, 1e-4),
    "pmms": ("sgd", 3.5e-4, 8, 5e-4),
    "rtd": ("sgd", 2.5e-3, 8, 1e-4),
    "repri": ("sgd", 2.5e-3, 12, 1e-4),
}
"""Optimiser, learning rate, batch and weight decay of the authors' scripts (shared design/methods)."""
HEAVY = {"vat", "pfenet", "scl", "asgnet", "ntrenet"}
"""Half a minute and more for eight steps; the PFENet family's loss also falls in test_pfenet_family.py."""
ELSEWHERE = {
    "bam": "bam/test_bam.py::test_the_second_stage_moves_the_meta_learner_and_the_ensemble_alone",
    "hm": "test_recipes.py::test_the_loss_falls_on_the_miniature of hsnet, whose head and loss it has",
    "ifa": "ifa/test_ifa.py::test_the_loss_falls",
    "patnet": "test_recipes.py::test_the_loss_falls_on_the_miniature of hsnet, whose head and loss it has",
    "pmms": "pmms/test_pmms.py::test_the_loss_falls_and_rates_go_by_part",
    "ssp": "test_ssp.py::test_the_loss_falls_and_only_the_copy_of_two_stages_learns",
}
"""Methods whose loss is seen to fall by another test, on a smaller network."""
LEARNERS: dict[str, dict[str, Any]] = {
    "bam": {"classes": 20},
    "repri": {"classes": 20},
    "aaformer": {"reduce_dim": 48},
    "abcnet": {"heads": 2},
    "cyctr": {"reduce_dim": 48},
    "ipmt": {"reduce_dim": 48},
}
"""Settings with which a method learns here: the miniature's classes, or a small head that takes little time."""
SMALL_STEPS = {"rtd", "ssp", "ifa"}
"""Methods that need a lower rate for their loss to fall in eight steps."""
DEEP_FEATURES = {"bam", "ifa", "ssp"}
"""Methods whose loss does not fall in eight steps on the features of four convolutions."""
STAGES = [(name, stage) for name in METHODS.names() for stage in METHODS.get(name).stages]
TRAINED = [name for name in METHODS.names() if METHODS.get(name).card.trained]


def test_every_trainable_method_has_its_recipe() -> None:
    assert sorted(TRAINED) == sorted(PUBLISHED)
    for name, expected in PUBLISHED.items():
        recipe = METHODS.get(name).recipe
        assert recipe is not None, name
        result = (recipe.optimizer, recipe.learning_rate, recipe.batch, recipe.weight_decay)
        assert result == expected, name


@pytest.mark.parametrize("name", ["ssp", "ifa"])
def test_the_rate_falls_at_each_third(name: str) -> None:
    recipe = METHODS.get(name).recipe
    assert recipe is not None
    rates = [recipe.rate(step, 9) for step in range(9)]
    assert rates == pytest.approx([1e-3] * 3 + [1e-4] * 3 + [1e-5] * 3)
    assert recipe.steps is not None
    assert recipe.steps * recipe.batch == 24_000


def trained(slow: set[str]) -> list[Any]:
    """Names of all trainable methods, those that take long marked."""
    return [
        pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in sorted(PUBLISHED)
    ]


def learner(name: str) -> Method:
    """A method on a small backbone, all weights from seed 0."""
    backbone = "efficientnet-lite0" if name in DEEP_FEATURES else register_small_backbone()
    torch.manual_seed(0)
    return fssbench.load_method(
        name, backbone=backbone, weights="random", untrained=True, **LEARNERS.get(name, {})
    )


@cache
def read_training_set(benchmark: str, data: Path) -> TrainingSet:
    """The training set of a benchmark on the miniature, which the methods share."""
    return collect_training_set(benchmark, data=data)


def batch_of(method: Method, data: Path, size: int, benchmark: str = "pascal-to-isic2018") -> Batch:
    """Two training episodes of the miniature, as `fssbench train` draws them."""
    source = read_training_set(benchmark, data)
    dataset = open_dataset("pascal", data=data)
    with join_workers("cpu") as world:
        inputs = Inputs(dataset, size, world.device, FeatureCache(0))
        batches = Batches(method, source, inputs, EpisodeStream(source.training, 1, "t"), 2, 1, world)
        batches.expect(0, 1)
        return next(batches.of(0))


@pytest.mark.parametrize("name", trained(HEAVY | ELSEWHERE.keys()))
@pytest.mark.timeout(600)
def test_the_loss_falls_on_the_miniature(name: str, mini: Path) -> None:
    """Few steps on the same two episodes, at a rate that suits few steps.

    Before them, the loss in bfloat16 (`fssbench train --amp` on a CPU) is near that in single precision.
    """
    with torch.random.fork_rng(devices=[]):
        method = learner(name)
        batch = batch_of(method, mini, 64)
        single, mixed = compute_in_both_precisions(method, batch)
        losses = train_few_steps(method, batch, rate=3e-4 if name in SMALL_STEPS else 2e-3)
    assert sum(losses[-2:]) < 0.9 * sum(losses[:2]), losses
    assert mixed == pytest.approx(single, rel=0.1)


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_the_loss_of_a_stage_falls_on_the_miniature(name: str, stage: str, mini: Path) -> None:
    """On a fold, so that images also show classes that are not trained on."""
    with torch.random.fork_rng(devices=[]):
        method = learner(name)
        method.begin_stage(stage)
        batch = batch_of(method, mini, 96, "pascal5i")
        assert batch.query.shape == (2, 3, 96, 96)  # pixels, as the backbone learns
        assert 0 < int(batch.target.max()) <= 15
        losses = train_few_steps(method, batch, rate=1e-3)
    assert sum(losses[-2:]) < 0.9 * sum(losses[:2]), losses


def train_few_steps(method: Method, batch: Batch, *, rate: float) -> list[float]:
    """Train eight steps on one batch, and return their losses."""
    optimizer = torch.optim.Adam(list(list_learnable(method).values()), lr=rate)
    losses = []
    for _ in range(8):
        method.train()
        optimizer.zero_grad()
        loss = Loss(method)(batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("name", ["pfenet", "bam", "ifa", "pmms", "ssp"])
@pytest.mark.timeout(600)
def test_the_loss_in_bfloat16_is_near_that_in_single_precision(name: str, mini: Path) -> None:
    """Of methods whose trainings above are not in every run: one of the PFENet family, and those with own layers."""
    with torch.random.fork_rng(devices=[]):
        method = learner(name)
        single, mixed = compute_in_both_precisions(method, batch_of(method, mini, 64))
    assert mixed == pytest.approx(single, rel=0.1)


@torch.no_grad()
def compute_in_both_precisions(method: Method, batch: Batch) -> tuple[float, float]:
    """Compute the loss of a batch in single precision, and in bfloat16."""
    torch.manual_seed(1)
    single = Loss(method)(batch)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = Loss(method)(batch)
    return float(single), float(mixed)
