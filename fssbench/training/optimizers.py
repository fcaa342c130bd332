"""The optimiser of a recipe, and its learning rates at each step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from fssbench.contracts.methods import Method
from fssbench.contracts.training import PartRecipe, Recipe
from fssbench.training.state import list_learnable


class JointOptimizer(Optimizer):
    """Optimisers of different parameters, used and stored as one."""

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        super().__init__([group for each in optimizers for group in each.param_groups], {})
        self.optimizers = tuple(optimizers)
        # each goes on with the groups and the state that this one shows
        self.state: defaultdict[torch.Tensor, Any] = defaultdict(dict)
        self.param_groups = [group for each in optimizers for group in each.param_groups]
        for each in optimizers:
            each.state = self.state

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do one step with each."""
        for each in self.optimizers:
            each.step(closure)


def make_optimizer(recipe: Recipe, method: Method) -> Optimizer:
    """Make the recipe's optimiser; parameters of one part with the same learning rate factor form one group."""
    members: dict[tuple[int | None, float], list[torch.nn.Parameter]] = {}
    for name, parameter in list_learnable(method).items():
        members.setdefault((recipe.part_of(name), method.rate_factor(name)), []).append(parameter)
    groups: dict[int | None, list[dict[str, Any]]] = {}
    for (part, factor), parameters in members.items():
        groups.setdefault(part, []).append({"params": parameters, "factor": factor, "part": part})
    optimizers = [
        _make_one(recipe, recipe if part is None else _find_part(recipe, part), of_part)
        for part, of_part in groups.items()
    ]
    return optimizers[0] if len(optimizers) == 1 else JointOptimizer(optimizers)


def _make_one(recipe: Recipe, part: Recipe | PartRecipe, groups: list[dict[str, Any]]) -> Optimizer:
    rate, decay = part.learning_rate, part.weight_decay
    if part.optimizer == "sgd":
        return torch.optim.SGD(groups, rate, recipe.momentum, weight_decay=decay, nesterov=recipe.nesterov)
    kind = torch.optim.Adam if part.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, rate, weight_decay=decay)


def set_rates(optimizer: Optimizer, recipe: Recipe, step: int, total: int) -> float:
    """Give each group the learning rate of a step, and return that of the recipe itself.

    Args:
        optimizer: from `make_optimizer`.
        recipe: the same recipe.
        step: steps done before it.
        total: steps of the whole training.
    """
    rate = recipe.rate(step, total)
    for group in optimizer.param_groups:
        part = group["part"]
        group["lr"] = (rate if part is None else _find_part(recipe, part).learning_rate) * group["factor"]
    return rate


def _find_part(recipe: Recipe, place: int) -> PartRecipe:
    return (recipe.parts or ())[place]
