"""Recipes and the default loss."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, strategies as st
from pydantic import ValidationError
from torch.nn import functional

import fssbench
from fssbench.api import Recipe
from fssbench.plugins.registry import METHODS


def recipe(**changed):
    return Recipe(
        **{"optimizer": "sgd", "learning_rate": 0.1, "batch": 2, "steps": 8, "source": "", **changed}
    )


@given(st.integers(1, 500), st.sampled_from(["none", "step", "poly", "cosine"]))
def test_rates_never_rise_and_stay_positive(total, schedule):
    rates = [recipe(schedule=schedule).rate(step, total) for step in range(total)]
    assert rates[0] == 0.1
    assert all(a >= b > 0 for a, b in pairwise(rates))


@pytest.mark.parametrize("schedule", ["poly", "cosine"])
def test_schedules_agree_with_torch(schedule):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], 0.1)
    schedulers = torch.optim.lr_scheduler
    theirs = (
        schedulers.PolynomialLR(optimizer, total_iters=8, power=0.9)
        if schedule == "poly"
        else schedulers.CosineAnnealingLR(optimizer, 8, eta_min=1e-6)
    )
    for step in range(8):
        assert recipe(schedule=schedule).rate(step, 8) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize(
    "wrong", [{"learning_rate": 0}, {"batch": 0}, {"momentum": 1}, {"steps": None}, {"epochs": 3}, {"x": 1}]
)
def test_impossible_recipes(wrong):
    with pytest.raises(ValidationError):
        recipe(**wrong)


def test_built_in_recipes_are_those_of_the_cards():
    pmnet, hsnet = METHODS.get("pmnet").recipe, METHODS.get("hsnet").recipe
    assert (pmnet.optimizer, pmnet.learning_rate, pmnet.nesterov, pmnet.batch, pmnet.epochs) == (
        "sgd",
        1e-3,
        True,
        36,
        150,
    )
    assert (hsnet.optimizer, hsnet.learning_rate, hsnet.batch, hsnet.epochs) == ("adam", 1e-3, 20, 2000)
    assert METHODS.get("panet").recipe is None
    assert not METHODS.get("hsnet").loss_ignores


def batch(method, count=4):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(count, 3, 16, 16, generator=generator)
    support = torch.randn(count, 1, 3, 16, 16, generator=generator)
    mask, target = torch.zeros(count, 1, 16, 16), torch.zeros(count, 16, 16, dtype=torch.bool)
    mask[..., :8], target[:, 4:9] = 1, True
    ignore = torch.zeros_like(target)
    for row in range(count):
        ignore[row, 12:, : 4 * row] = True  # another number of ignored pixels in each episode
    return query, support, mask, target, ignore


@pytest.fixture
def learner(shapes):
    return fssbench.load_method("learner", untrained=True)


def test_the_loss_of_a_batch_is_the_mean_of_its_episodes(learner):
    given_ = batch(learner)
    whole = learner.loss(*given_)
    each = [learner.loss(*(t[i : i + 1] for t in given_)) for i in range(4)]
    assert whole.item() == pytest.approx(torch.stack(each).mean().item(), rel=1e-6)


def test_ignored_pixels_move_nothing_and_others_do(learner):
    query, support, mask, target, ignore = batch(learner)
    one = learner.loss(query, support, mask, target, ignore)
    assert torch.equal(one, learner.loss(query, support, mask, target | ignore, ignore))
    assert not torch.equal(one, learner.loss(query, support, mask, ~target, ignore))
    everything = torch.ones_like(ignore)
    assert learner.loss(query, support, mask, target, everything).item() == 0


def test_without_ignoring_it_is_plain_cross_entropy(learner):
    query, support, mask, target, ignore = batch(learner)
    type(learner).loss_ignores = False
    expected = functional.cross_entropy(learner.predict(query, support, mask), target.long())
    assert learner.loss(query, support, mask, target, ignore).item() == pytest.approx(
        expected.item(), rel=1e-6
    )
