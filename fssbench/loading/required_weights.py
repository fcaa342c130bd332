"""The check before a run that every network of a method can be built on this machine."""

from __future__ import annotations

from collections.abc import Sequence

from fssbench.contracts.methods import Method
from fssbench.errors import DataError
from fssbench.loading.backbone_weights import explain_missing_weights
from fssbench.loading.backbones import require_packages
from fssbench.loading.load import choose_companions
from fssbench.loading.settings import make_settings
from fssbench.loading.weights_choice import Choice, suggest_small_backbone


def require_weights(
    cls: type[Method],
    choice: Choice,
    weights: str | None,
    *,
    ablate: Sequence[str] = (),
    download: bool = False,
) -> None:
    """Refuse a method if packages or weights of its backbone or companions are not on this machine.

    Args:
        cls: the method.
        choice: its backbone, checkpoint and settings.
        weights: backbone weights, if any were requested.
        ablate: requested ablations.
        download: whether missing weights will be downloaded.

    Raises:
        LackingError: if a package is missing that builds one of them.
        DataError: naming all weights that are missing.
    """
    settings = make_settings(cls, ablate, choice.config)
    companions = choose_companions(cls, settings, weights)
    own = choice.backbone or cls.card.backbone
    builds_own = cls.needs_backbone and not choice.checkpoint
    for backbone in (*([own] if builds_own else []), *(each.backbone for each in companions.values())):
        require_packages(backbone)
    if download:
        return
    lacking = []
    if builds_own and (missing := explain_missing_weights(own, weights)):
        if weights is None and not companions:
            missing += suggest_small_backbone(cls, settings, own)
        lacking.append(missing)
    for each in companions.values():
        option = f"--set {each.setting}" if each.setting else "--weights"
        lacking.append(explain_missing_weights(each.backbone, each.weights, option=option) or "")
    if any(lacking):
        raise DataError("; ".join(filter(None, lacking)))
