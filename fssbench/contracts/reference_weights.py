"""Weights in the layout of a method's authors, and which weights are the method's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fssbench.files.state_dicts import COUNTER, assign, bare_name, digest_state

if TYPE_CHECKING:
    from fssbench.contracts.backbones import Backbone
    from fssbench.contracts.methods import Method


def head(method: Method) -> dict[str, Tensor]:
    """The method's state dict without the backbone that the harness owns; shares its memory."""
    inside = "backbone." if method.backbone is not None else None
    return {k: v for k, v in method.state_dict().items() if inside is None or not k.startswith(inside)}


def load_reference(method: Method, state: Mapping[str, Tensor]) -> None:
    """Load weights in the authors' key layout, backbone included, all or nothing.

    Entries below `method.reference_backbone` (where that is empty: of the backbone's own modules) go to
    the backbone, the others through
    `method.rename_reference` to the method's own modules.  ImageNet classifiers in the backbone and
    `num_batches_tracked` may be there or not.

    Raises:
        DataError: naming up to five missing, unknown and misshapen entries each.
    """
    own, given = head(method), {}
    prefix, body = method.reference_backbone, {}
    for name, value in ((bare_name(k), v) for k, v in state.items()):
        if name.endswith(COUNTER):
            continue
        if method.backbone is not None and _in_backbone(name, prefix, method.backbone):
            body[name.removeprefix(prefix)] = value
        elif (renamed := method.rename_reference(name)) is not None:
            given[renamed] = value
    if method.backbone is not None:
        own |= {f"{prefix}{k}": v for k, v in method.backbone.state_dict().items()}
        given |= {f"{prefix}{k}": v for k, v in method.backbone.own_names(body).items()}
    assign(
        own,
        given,
        f"weights for method {method.card.name!r}{_backbone_text(method)}, in the authors' layout,",
    )
    if method.backbone is not None:
        method.backbone.record("reference")
    note_provenance(method, checkpoint="state dict", checkpoint_sha256=digest_state(state))


def _in_backbone(name: str, prefix: str, backbone: Backbone) -> bool:
    """Whether an entry of the authors' file is the backbone's."""
    if prefix:
        return name.startswith(prefix)
    return name.partition(".")[0] in dict(backbone.named_children())


def _backbone_text(method: Method) -> str:
    return f" on {method.backbone.name}" if method.backbone is not None else ""


def note_provenance(method: Method, **facts: Any) -> None:
    """Bring the provenance up to date after weights were loaded."""
    method.provenance.update(facts, untrained=False)
    if method.backbone is not None:
        method.provenance.update(
            weights=method.backbone.weights, weights_sha256=method.backbone.weights_sha256
        )
