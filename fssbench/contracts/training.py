"""The published training recipe of a method."""

from __future__ import annotations

import math
import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from fssbench.contracts.records import Record

Supervision = Literal["object", "numbered", "labelled", "classes"]
"""What a loss learns from, see `Method.supervision`."""
WARM_START = 1e-3
"""Share of the learning rate with which a warm-up begins."""


def require_pattern(value: str) -> str:
    """Return a regular expression that compiles.

    Raises:
        ValueError: if it does not.
    """
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{value!r} is no regular expression: {error}") from None
    return value


class PartRecipe(Record):
    """How some parameters are trained that do not follow the rest of a recipe; their rate is constant."""

    names: str
    """Regular expression that is searched in the name of a parameter."""
    optimizer: Literal["sgd", "adam", "adamw"]
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(0.0, ge=0)

    @field_validator("names")
    @classmethod
    def _compiles(cls, value: str) -> str:
        return require_pattern(value)


class Recipe(Record):
    """The optimiser, its schedule and the amount of training that a method's authors published.

    `fssbench train` follows it; the command line may change what it names.
    """

    optimizer: Literal["sgd", "adam", "adamw"]
    learning_rate: float = Field(gt=0)
    """Rate of the first step, as the authors' code has it."""
    stated_rate: float | None = Field(None, gt=0)
    """Rate that the authors' files state, if their code starts from another."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Only used by SGD."""
    nesterov: bool = False
    """Only used by SGD."""
    weight_decay: float = Field(0.0, ge=0)
    batch: int = Field(ge=1)
    """Episodes per step, summed over all processes and accumulated forwards."""
    epochs: int | None = Field(None, ge=1)
    """Passes over the image-class pairs; either `epochs` or `steps` is given."""
    steps: int | None = Field(None, ge=1)
    schedule: Literal["none", "step", "poly", "cosine"] = "none"
    """`none`: constant; `step`: times `decay` at each of `milestones`; `poly`: (1 - done)^`power`; `cosine`: half
    a wave, down to `lowest`."""
    milestones: tuple[float, ...] = (0.5, 0.75)
    """Shares of the training after which the schedule `step` lowers the rate."""
    decay: float = Field(0.1, gt=0, le=1)
    power: float = Field(0.9, gt=0)
    lowest: float = Field(1e-6, ge=0)
    """Last rate of the schedule `cosine`."""
    warm_up: float | None = Field(None, gt=0, lt=1)
    """Share of the training in which the rate rises linearly, from `WARM_START` of `learning_rate` to all of it."""
    parts: tuple[PartRecipe, ...] | None = None
    """Parameters that are trained differently.  A parameter follows the first part whose pattern is in its name."""
    size: int | None = Field(None, ge=1)
    """Side of the square input in pixels; None for that of the card."""
    source: str
    """Source of the recipe."""

    @model_validator(mode="after")
    def _one_length(self) -> Recipe:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")
        return self

    def part_of(self, name: str) -> int | None:
        """Place in `parts` of the one that the parameter `name` follows; None for the recipe itself."""
        matches = (i for i, part in enumerate(self.parts or ()) if re.search(part.names, name))
        return next(matches, None)

    def rate(self, step: int, total: int) -> float:
        """Compute the learning rate of a step.

        Args:
            step: steps done before it.
            total: steps of the whole training.

        Returns:
            A pure function of both, so that a resumed training meets the same rates.

        Example:
            >>> recipe = Recipe(optimizer="adam", learning_rate=1.0, batch=1, steps=4, schedule="step", source="")
            >>> [recipe.rate(s, 4) for s in range(4)]
            [1.0, 1.0, 0.1, 0.010000000000000002]
        """
        done = step / total
        if self.warm_up is not None and done < self.warm_up:
            return self.learning_rate * (WARM_START + (1 - WARM_START) * done / self.warm_up)
        if self.schedule == "poly":
            return self.learning_rate * (1 - done) ** self.power
        if self.schedule == "cosine":
            lowest = min(self.lowest, self.learning_rate)
            return lowest + (self.learning_rate - lowest) * (1 + math.cos(math.pi * done)) / 2
        if self.schedule == "step":
            return self.learning_rate * self.decay ** sum(done >= m for m in self.milestones)
        return self.learning_rate


class Stage(Record):
    """A training that comes before that of a method's `recipe`, such as the training of a base network.

    The first stage starts from the seed, and every later one from the checkpoint of the stage before.
    """

    recipe: Recipe
    names: str
    """Regular expression that is searched in the name of a parameter: those that it trains.  All others are frozen."""
    supervision: Supervision = "object"
    """What the loss of this stage learns from, see `Method.supervision`."""
    trains_backbone: bool = False
    """Whether the backbone is trained too; the checkpoints of the method then hold it."""

    @field_validator("names")
    @classmethod
    def _compiles(cls, value: str) -> str:
        return require_pattern(value)
