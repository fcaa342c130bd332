"""Recipes with parts: each parameter follows its own optimiser, also after a state was stored and loaded."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

import fssbench
from fssbench.contracts.training import WARM_START, PartRecipe, Recipe
from fssbench.training.optimizers import JointOptimizer, make_optimizer, set_rates
from fssbench.training.settings import Settings, make_effective_recipe
from fssbench.training.state import Reached, list_learnable, load_state, save_state

PARTS = (
    PartRecipe(names=r"bias$", optimizer="adamw", learning_rate=1e-2),
    PartRecipe(names=r"^embed\.", optimizer="adamw", learning_rate=1e-2, weight_decay=0.5),
)
RECIPE = Recipe(
    optimizer="sgd",
    learning_rate=0.2,
    stated_rate=0.02,
    weight_decay=0.1,
    batch=4,
    steps=10,
    schedule="poly",
    parts=PARTS,
    source="made up",
)


@pytest.fixture
def learner(shapes):
    return lambda: fssbench.load_method("learner", untrained=True, norm=True)


def step(method, optimizer, done):
    optimizer.zero_grad()
    sum((p * p).sum() for p in list_learnable(method).values()).backward()
    rate = set_rates(optimizer, RECIPE, done, 10)
    optimizer.step()
    return rate


def test_each_parameter_is_updated_by_the_first_part_that_names_it(learner):
    method = learner()
    before = {name: p.detach().clone() for name, p in list_learnable(method).items()}
    optimizer = make_optimizer(RECIPE, method)
    assert isinstance(optimizer, JointOptimizer)
    rate = step(method, optimizer, 5)
    assert rate == RECIPE.rate(5, 10) < RECIPE.learning_rate
    followed = set()
    for name, value in list_learnable(method).items():
        alone = before[name].clone().requires_grad_()
        (alone * alone).sum().backward()
        part = RECIPE.part_of(name)
        followed.add(part)
        if part is None:
            torch.optim.SGD([alone], rate, 0.9, weight_decay=0.1).step()
        else:
            torch.optim.AdamW([alone], 1e-2, weight_decay=PARTS[part].weight_decay).step()
        assert torch.equal(alone, value), name
    assert followed == {None, 0, 1}


def test_a_loaded_state_goes_on_as_the_stored_one(learner, tmp_path):
    method, other = learner(), learner()
    own, its = make_optimizer(RECIPE, method), make_optimizer(RECIPE, other)
    for done in range(2):
        step(method, own, done)
    save_state(tmp_path / "s.safetensors", method, own, Reached(2), {})
    load_state(tmp_path / "s.safetensors", other, its, {})
    step(method, own, 2)
    step(other, its, 2)
    for name, value in method.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_an_optimiser_that_is_asked_for_is_that_of_all_parameters(learner):
    settings = Settings("shapes", "out", optimizer="adam", learning_rate=1e-3)  # type: ignore[arg-type]
    recipe = make_effective_recipe(RECIPE, settings, learner(), 4)
    assert recipe.parts is recipe.stated_rate is None
    assert isinstance(make_optimizer(recipe, learner()), torch.optim.Adam)


def test_a_rate_that_is_asked_for_changes_the_parts_in_proportion(learner):
    settings = Settings("shapes", "out", learning_rate=0.1)  # type: ignore[arg-type]
    recipe = make_effective_recipe(RECIPE, settings, learner(), 4)
    assert [part.learning_rate for part in recipe.parts or ()] == pytest.approx([5e-3, 5e-3])


def test_a_warm_up_rises_in_a_straight_line_to_the_schedule():
    recipe = RECIPE.changed(warm_up=0.2)
    rates = [recipe.rate(done, 100) for done in range(21)]
    assert rates[0] == pytest.approx(WARM_START * 0.2)
    assert rates[10] == pytest.approx((rates[0] + 0.2) / 2)
    assert rates[20] == RECIPE.rate(20, 100)


def test_a_pattern_that_is_no_regular_expression_is_refused():
    with pytest.raises(ValidationError, match="regular expression"):
        PartRecipe(names="(", optimizer="sgd", learning_rate=1)
