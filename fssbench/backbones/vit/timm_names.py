"""Any network of timm as a backbone: `--backbone timm:NAME`, with or without the tag of published weights."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache

from fssbench.api import BackboneCard, PublishedWeights, UsageError, make_unknown_error
from fssbench.backbones.vit.network import TimmBackbone, require_timm

PREFIX = "timm:"


@cache
def make_timm_backbone(name: str) -> type[TimmBackbone]:
    """Make the backbone of a network of timm.

    Args:
        name: the network's name with the tag of its weights (`vit_small_patch14_dinov2.lvd142m`), or without a tag:
            then no published weights are named, because a name alone may resolve to anybody's weights.

    Returns:
        A class, the same one for the same name.

    Raises:
        UsageError: if timm is not installed, or knows no such network or tag.
    """
    timm = require_timm(f"backbone '{PREFIX}{name}'")
    network, _, tag = name.partition(".")
    if not timm.is_model(network):
        similar = get_close_matches(network, timm.list_models(), n=5, cutoff=0.5)
        raise UsageError(
            f"timm has no network {network!r}. Similar names: {', '.join(similar) or 'none'}. "
            "Next: `python -c 'import timm; print(timm.list_models())'` lists all"
        )
    tags = timm.models.list_pretrained(f"{network}.*")
    if tag and name not in tags:
        raise make_unknown_error(
            "network of timm with weights", name, tags, hint="Next: name one of its tags"
        )
    config = timm.models.get_pretrained_cfg(name) if tag else None
    words = re.sub(r"\W", "_", name)
    return type(
        f"Timm_{words}",
        (TimmBackbone,),
        {"timm_name": name, "card": _make_card(name, tag, config), "__module__": __name__},
    )


def _make_card(name: str, tag: str, config: object) -> BackboneCard:
    """Make the card of a network from what timm says of its weights."""
    repository = getattr(config, "hf_hub_id", None)
    licence = getattr(config, "license", None) or "not stated by timm"
    weights: tuple[PublishedWeights, ...] = ()
    if repository:
        weights = (
            PublishedWeights(
                id=tag,
                file="model.safetensors",
                sha256="",
                licence=licence,
                source=f"weights of timm, tag {tag}",
                origin="hub",
                key=repository,
            ),
        )
    return BackboneCard(
        name=f"{PREFIX}{name}",
        title=f"{name} (timm)",
        licence="Apache-2.0 (timm)",
        weights=weights,
        pretraining=f"as timm's tag {tag} says" if tag else "",
        input="sides that the patch does not divide are resized to the nearest multiple, bilinearly with antialias; "
        "mean and deviation are those of timm's configuration",
        notes=("positions=timm: positions follow timm",),
    )
