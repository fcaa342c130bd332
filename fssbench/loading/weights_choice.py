"""Chooses the weights of a method, by one rule for the command line and Python.

A named checkpoint takes precedence.  Otherwise a method that needs training takes the checkpoint of its plugin that
fits the benchmark and the fold.  If none fits, the method is refused, except if weights from a seed are requested or
the data are the miniature.  Every figure from weights of a seed is marked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fssbench.contracts.episodes import Plan
from fssbench.contracts.methods import Method
from fssbench.data.location import is_miniature
from fssbench.loading.bundled import choose_bundled, list_bundled
from fssbench.loading.settings import settings_to_take

MINI_BACKBONE = "efficientnet-lite0"
"""Backbone on miniature data if none is named: its weights come with the extra `mini`."""


@dataclass(frozen=True)
class Choice:
    """The chosen weights of a method."""

    backbone: str | None
    """Name of the backbone; None for that of the card."""
    checkpoint: Path | None
    config: dict[str, Any]
    """Requested settings, and those that a shipped checkpoint needs."""
    shipped: bool = False
    """Whether the checkpoint comes with the plugin."""
    lacking: bool = False
    """Whether the method needs trained weights but none are known."""


def choose_weights(
    cls: type[Method],
    plan: Plan | None,
    *,
    backbone: str | None,
    weights: str | None,
    checkpoint: str | Path | None,
    ablate: Sequence[str],
    config: Mapping[str, Any],
    untrained: bool,
) -> Choice:
    """Choose the weights of a method for a plan.

    Args:
        cls: the method.
        plan: the plan to be evaluated; without it no shipped checkpoint can be chosen.
        backbone: name of the backbone, if one was requested.
        weights: backbone weights, if any were requested; `random` also requests an untrained method.
        checkpoint: weights of the method, if any were named.
        ablate: requested ablations.
        config: requested settings.
        untrained: whether weights from a seed were requested.

    Returns:
        The choice.  If it is `lacking`, the caller tells the user what to give.
    """
    small = plan is not None and is_miniature(plan.data)
    if backbone is None and small and cls.needs_backbone:
        backbone = MINI_BACKBONE
    if checkpoint is not None:
        return Choice(backbone, Path(checkpoint).expanduser(), dict(config))
    if not cls.card.trained or untrained:
        return Choice(backbone, None, dict(config))
    if plan is not None and weights is None:
        network = (backbone or cls.card.backbone) if cls.needs_backbone else None
        fit = choose_bundled(cls, network, plan, ablate=ablate, config=config)
        if fit is not None:
            settings = {**settings_to_take(cls, fit.config), **config}
            return Choice(backbone, fit.path, settings, shipped=True)
    return Choice(backbone, None, dict(config), lacking=not small and weights != "random")


def ways_from_python(cls: type[Method], backbone: str | None, plan: Plan | None) -> str:
    """What to give to `load_method` so that a method has its weights."""
    there = sorted({each.backbone for each in list_bundled(cls) if each.backbone})
    ways = ["checkpoint=FILE", "untrained=True for weights from a seed, which is marked"]
    if backbone in there and plan is None:
        ways.insert(0, "plan=PLAN, for the weights that come with it and fit the plan's benchmark and fold")
    elif there:
        ways.insert(
            0, f"backbone={there[0]!r} and plan=PLAN without other settings, for weights that come with it"
        )
    return f"method {cls.card.name!r} needs trained weights. Next: give {'; or '.join(ways)}"


def ways_from_command_line(cls: type[Method]) -> str:
    """What to give to `fssbench run` so that a method has its weights."""
    name = cls.card.name
    ways = [
        f"`fssbench train --method {name}`, then --checkpoint FILE (with {{fold}} where there is one a fold)",
        "--untrained to see it run with weights from a seed",
    ]
    there = sorted({each.backbone for each in list_bundled(cls) if each.backbone})
    if there:
        ways.insert(
            0, f"--backbone {there[0]} without --set, --ablate and --weights (it has shipped weights)"
        )
    return f"method {name!r} needs trained weights. Next: {'; or '.join(ways)}"
