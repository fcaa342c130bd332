"""Says what the networks of a method saw in their pretraining."""

from __future__ import annotations

from fssbench.contracts.backbones import Backbone, BackboneCard
from fssbench.contracts.companions import list_networks
from fssbench.contracts.marks import MarkKind
from fssbench.contracts.methods import Method, needs_checkpoint
from fssbench.contracts.provenance import BROUGHT
from fssbench.loading.backbone_weights import RANDOM

NOT_STATED = "not stated"
"""Pretraining of weights whose card says nothing about it."""
NO_PRETRAINING = "none (random weights)"
UNKNOWN_FILE = "unknown (local file)"
UNKNOWN_CHECKPOINT = "unknown (came with the checkpoint)"
OWN_WEIGHTS = "own weights"
"""Name of the weights that a method brings, such as an encoder, beside `backbone` and the names of companions."""
_FILE = "file:"
_LEAST_DIGITS = 8


def describe_pretraining(network: Backbone) -> str:
    """Say what the present weights of a network were trained on, such as `LVD-142M`.

    A local file counts as published weights if its hash is theirs.
    """
    weights = network.weights
    if weights == RANDOM:
        return NO_PRETRAINING
    if weights == BROUGHT:
        return UNKNOWN_CHECKPOINT
    digits = weights.removeprefix(_FILE) if weights.startswith(_FILE) else None
    # a network that is not registered may lack one
    card: BackboneCard | None = getattr(network, "card", None)
    if card is not None:
        for record in card.weights:
            if record.id == weights or (digits is not None and _is_same_hash(digits, record.sha256)):
                return record.pretraining or card.pretraining or NOT_STATED
    return UNKNOWN_FILE if digits is not None else NOT_STATED


def _is_same_hash(one: str, other: str) -> bool:
    """Compare the digits that both beginnings of a hash have."""
    length = min(len(one), len(other))
    return length >= _LEAST_DIGITS and one[:length] == other[:length]


def list_pretraining(method: Method) -> dict[str, str]:
    """Say for each network of a loaded method what it saw; empty for a method without any."""
    seen = {name: describe_pretraining(network) for name, network in list_networks(method).items()}
    if brings_weights(method):
        is_random = any(mark.kind == MarkKind.RANDOM_WEIGHTS for mark in method.provenance.marks)
        seen[OWN_WEIGHTS] = NO_PRETRAINING if is_random else method.card.pretraining or NOT_STATED
    return seen


def brings_weights(method: Method) -> bool:
    """Return whether a method has weights that neither the harness nor a checkpoint gives it."""
    networks = list_networks(method).values()
    of_networks = {id(parameter) for network in networks for parameter in network.parameters()}
    has_own = any(id(parameter) not in of_networks for parameter in method.parameters())
    return has_own and not needs_checkpoint(type(method))
