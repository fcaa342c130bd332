"""What a loaded method was made of."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict

from fssbench.contracts.checkpoint import TrainingManifest
from fssbench.contracts.companions import CompanionIdentity
from fssbench.contracts.marks import Mark
from fssbench.contracts.records import Record

BROUGHT = "reference"
"""Id of backbone weights that came with the checkpoint; they are part of the training and differ per fold."""


class Provenance(Record):
    """What a method was made of: source, backbone, weights, checkpoint, settings.

    `fssbench.load_method` fills it in.  It is replaced as a whole when other weights are loaded.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    method: str = ""
    """Id of the method."""
    method_version: str | None = None
    """Distribution and version that registers the method, or `file`."""
    source_sha256: str | None = None
    """Hash of the source of the plugin."""
    sources: dict[str, str] = {}
    """Hash of each file of the plugin."""
    distributions: dict[str, str] = {}
    """Versions of the packages that the plugin imports and fssbench itself does not need."""
    backbone: str | None = None
    """Id of the backbone; None for a method with its own encoder."""
    layout: str | None = None
    """Variant of the backbone's architecture."""
    weights: str | None = None
    """Id of the backbone's weights."""
    weights_sha256: str | None = None
    """Hash of the backbone's weights."""
    backbone_source_sha256: str | None = None
    """Hash of the source of the backbone plugin; None without a backbone."""
    companions: dict[str, CompanionIdentity] = {}
    """Networks beside the backbone, by name."""
    companion_weights: dict[str, str] = {}
    """Ids of their weights, by name."""
    checkpoint: str | None = None
    """Name of the file that the method's own weights came from; None without one."""
    checkpoint_sha256: str | None = None
    """Hash of that file."""
    training: TrainingManifest | None = None
    """What that file says about its training."""
    ablations: tuple[str, ...] = ()
    """Ablations that were asked for."""
    config: dict[str, Any] | None = None
    """Every setting, as JSON holds it; None until the method is described."""
    config_passed: dict[str, Any] = {}
    """Settings that were given."""
    untrained: bool = False
    """Whether weights that need training come from a seed."""
    learnable: int = 0
    """Parameters that training would change."""
    parameters: int = 0
    """All parameters, the backbone's included."""
    marks: tuple[Mark, ...] = ()
    """What is to be said of the method, whatever it is measured on."""
    seed: int | None = None
    """Seed of the weights that were not loaded."""
    weights_changed: str | None = None
    """Why the method is not evaluated again: it changed its weights while it predicted."""
