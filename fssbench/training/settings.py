"""Settings of a training, and the recipe that results from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from fssbench.contracts.arguments import Count, Natural, Seed, Share, Side
from fssbench.contracts.methods import Method
from fssbench.contracts.training import Recipe
from fssbench.errors import UsageError
from fssbench.training.state import list_learnable


@dataclass(frozen=True)
class Settings:
    """Training data, length and output of a training; None keeps the value of the recipe."""

    benchmark: str
    """Id of the benchmark with its variant, or a benchmark file."""
    out: Path
    fold: Natural = 0
    shot: Count = 1
    data: str | Path | None = None
    splits: str | Path | None = None
    steps: Count | None = None
    epochs: Count | None = None
    batch: Count | None = None
    """Episodes per forward pass of one process; by default the recipe's batch is divided."""
    accumulate: Count = 1
    """Forward passes per step."""
    stage: str | None = None
    """The stage that is trained, of a method that is trained in stages; None for the last training."""
    start: Path | None = None
    """Checkpoint of the stage before."""
    draw: Literal["classes", "pairs"] = "classes"
    """Whether each class is equally likely, or each image-class pair."""
    without_novel: bool = False
    """Whether images that also show a test class are left out."""
    invert: Share = 0.0
    """Share of the episodes in which object and background are exchanged."""
    optimizer: Literal["sgd", "adam", "adamw"] | None = None
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    schedule: Literal["none", "step", "poly", "cosine"] | None = None
    size: Side | None = None
    iou_loss: Annotated[float, Field(ge=0)] = 0.0
    """Weight of one minus a soft IoU, added to the default loss."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the running average of the weights, which is then validated and saved; 0 for no average."""
    seed: Seed = 0
    amp: bool | None = None
    """Whether to compute in bfloat16; None means yes on devices that are fast at it."""
    val_every: Count | None = None
    """Steps between validations; a twentieth of the training by default."""
    val_episodes: Natural = 100
    """0 for no validation."""
    select_on_test: bool = False
    half: bool = False
    """Whether the checkpoint is rounded to half precision."""
    save_every: Count = 100
    """Steps between stored states; validations store one too."""
    cache_mb: Natural = 2048
    feature_cache: Path | None = None
    cache_gb: Annotated[float, Field(ge=0)] = 20.0
    workers: Natural = 2
    """Threads that read the images of the next step while one computes.  They change no number."""


def require_recipe(method: Method) -> Recipe:
    """Return the recipe by which the authors of a method train it, in its present stage.

    Raises:
        UsageError: if there is nothing to train.
    """
    if method.stage is not None:
        return method.stages[method.stage].recipe
    if method.recipe is None or not list_learnable(method):
        raise UsageError(
            f"method {method.card.name!r} has no recipe, because it is used without training. "
            "Next: `fssbench list methods` shows the kinds of all methods"
        )
    return method.recipe


def make_effective_recipe(recipe: Recipe, settings: Settings, method: Method, batch: int) -> Recipe:
    """Replace values of the recipe by those of the settings.

    An optimiser that is asked for is that of all parameters.  A learning rate that is asked for is that of the recipe
    itself; the rates of its parts change in the same proportion.

    Args:
        recipe: the published recipe.
        settings: the requested settings.
        method: the method, whose size is used if neither recipe nor settings name one.
        batch: episodes per step, over all processes and forward passes.

    Raises:
        UsageError: for two lengths at once.
    """
    if settings.steps is not None and settings.epochs is not None:
        raise UsageError("--steps and --epochs exclude each other. Next: give one of them")
    changed: dict[str, Any] = {"batch": batch, "size": settings.size or recipe.size or method.card.size}
    for name in ("optimizer", "learning_rate", "schedule"):
        if (requested := getattr(settings, name)) is not None:
            changed[name] = requested
    if settings.optimizer is not None:
        changed["parts"] = None
    elif settings.learning_rate is not None and recipe.parts:
        factor = settings.learning_rate / recipe.learning_rate
        changed["parts"] = tuple(p.changed(learning_rate=p.learning_rate * factor) for p in recipe.parts)
    if settings.learning_rate is not None:
        changed["stated_rate"] = None
    if settings.steps is not None or settings.epochs is not None:
        changed |= {"steps": settings.steps, "epochs": settings.epochs}
    return Recipe(**{**recipe.model_dump(), **changed})


def choose_mixed_precision(wanted: bool | None, device: torch.device) -> bool:
    """Return whether to compute in bfloat16, whose range needs no scaling of the loss.

    Args:
        wanted: the wish of the user; None for yes on devices that are fast at it.
        device: the device of the training.

    Raises:
        UsageError: if the device does not support it.
    """
    is_supported = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if wanted is None:
        return is_supported
    if wanted and device.type == "cuda" and not is_supported:
        raise UsageError("this GPU does not support bfloat16. Next: give --no-amp")
    return wanted
