"""Loads the method of a prediction: without a benchmark that could say which weights fit.

A method that needs training takes `--checkpoint`, or the shipped checkpoint that was trained on the most classes.  A
method without trained weights of its own takes the backbone of its card, or the one whose weights come with fssbench's
extra `mini` if the former are not on this machine; which one it is, the user is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fssbench.contracts.marks import Mark
from fssbench.contracts.method_card import Information
from fssbench.contracts.methods import Method
from fssbench.errors import DataError, UsageError
from fssbench.files.home import expand_home
from fssbench.loading import checkpoints
from fssbench.loading.backbone_weights import choose_default_weights, explain_missing_weights
from fssbench.loading.bundled import ShippedCheckpoint, list_bundled
from fssbench.loading.load import load_method
from fssbench.loading.settings import find_differing_settings, list_settings_to_take, make_settings
from fssbench.loading.weights_choice import (
    MINI_BACKBONE,
    explain_weights_on_command_line,
    fits_small_backbone,
)
from fssbench.plugins.registry import METHODS
from fssbench.runs.early_marks import make_method_marks, make_training_data_marks


@dataclass(frozen=True)
class MethodRequest:
    """Which method with which weights a user wants."""

    method: str | type[Method]
    backbone: str | None = None
    weights: str | None = None
    checkpoint: str | Path | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    untrained: bool = False
    download: bool = False
    device: str = "cpu"


@dataclass(frozen=True)
class LoadedMethod:
    """A method that is ready to predict, and what the user must know about it."""

    method: Method
    size: int
    """Side of the square network input at which it was trained, or that of its card, pixels."""
    notes: tuple[str, ...]
    marks: tuple[Mark, ...]


def load_requested_method(request: MethodRequest) -> LoadedMethod:
    """Load a method.

    Raises:
        UsageError: for an unknown name or setting.
        DataError: for weights that are missing, and for a method that needs trained weights and has none.
        PluginError: if the plugin does not load.
    """
    cls: type[Method] = METHODS.get(request.method) if isinstance(request.method, str) else request.method
    if Information.CLASS_NAME in cls.card.reads:
        raise UsageError(
            f"method {cls.card.name!r} reads the name of the class, which a labelled image does not give. Next: "
            "`fssbench list methods`, and choose a method that reads the examples alone"
        )
    backbone, checkpoint, config = request.backbone, request.checkpoint, dict(request.config)
    notes = []
    if checkpoint is not None:
        checkpoint = expand_home(checkpoint)
        header = checkpoints.read_header(checkpoint)
        if header is not None:
            backbone = backbone or header.backbone
    elif cls.card.trained and not request.untrained and request.weights != "random":
        shipped = _choose_shipped(cls, request)
        if shipped is None:
            raise DataError(explain_weights_on_command_line(cls))
        backbone, checkpoint = shipped.backbone, shipped.path
        config = {**list_settings_to_take(cls, shipped.config), **config}
        notes.append(f"{cls.card.name}: shipped checkpoint {shipped.path.name}")
    elif backbone is None and cls.needs_backbone:
        backbone = choose_backbone(cls, request)
        if backbone != cls.card.backbone:
            notes.append(
                f"{cls.card.name}: backbone {backbone}, because the weights of its own, {cls.card.backbone}, are not "
                "on this machine. --backbone and --weights choose others"
            )
    method = load_method(
        cls,
        backbone=backbone,
        weights=request.weights,
        checkpoint=checkpoint,
        device=request.device,
        download=request.download,
        untrained=checkpoint is None,
        **config,
    )
    training = method.provenance.training
    marks = make_method_marks(method) + (make_training_data_marks(training) if training else [])
    trained_at = training.size if training is not None else None
    size = cls.card.input_size or trained_at or cls.card.size
    return LoadedMethod(method, size, tuple(notes), tuple(dict.fromkeys(marks)))


def _choose_shipped(cls: type[Method], request: MethodRequest) -> ShippedCheckpoint | None:
    """Choose the shipped checkpoint that was trained on the most classes and has the wanted backbone and settings."""
    make_settings(cls, (), request.config)  # raises an error that explains invalid settings
    fitting = [
        each
        for each in list_bundled(cls)
        if request.weights is None
        and request.backbone in (None, each.backbone)
        and not _differs(cls, each, request.config)
    ]
    own = [each for each in fitting if each.backbone == cls.card.backbone]
    return max(own or fitting, key=lambda each: (len(each.classes), each.path.name), default=None)


def _differs(cls: type[Method], shipped: ShippedCheckpoint, config: Mapping[str, Any]) -> bool:
    wanted = cls.Config(**{**list_settings_to_take(cls, shipped.config), **config})
    return bool(find_differing_settings(cls.Config, shipped.config, wanted.model_dump(mode="json")))


def choose_backbone(cls: type[Method], request: MethodRequest) -> str:
    """Choose the backbone of a method that has no trained weights: that of its card, or the one at hand."""
    own = cls.card.backbone
    if request.weights is not None or request.download:
        return own
    weights = choose_default_weights(own)
    lacking = explain_missing_weights(own, weights)
    if lacking is None or explain_missing_weights(MINI_BACKBONE, None) is not None:
        return own
    return MINI_BACKBONE if fits_small_backbone(cls, make_settings(cls, (), request.config)) else own
