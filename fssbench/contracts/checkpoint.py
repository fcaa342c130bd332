"""What a checkpoint says of itself: the facts of its training, and the method that it was written for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from fssbench.contracts.marks import Mark
from fssbench.contracts.records import Items, StoredRecord

Number = float | int


class TrainingManifest(StoredRecord):
    """The facts of a training.

    A training writes them all.  In a file nothing is taken for granted: a field of another form says nothing, and
    of a list the items of the right form are read.  `as_stored` gives all back as the file had it.
    """

    stream: str | None = None
    """Version of the rule by which training episodes are drawn."""
    benchmark: str | None = None
    """Benchmark for which the method was trained."""
    fold: int | None = None
    """Fold of the benchmark."""
    shot: int | None = None
    """Supports per episode."""
    dataset: str | None = None
    """Data set that was trained on."""
    dataset_variant: str | None = None
    """Classes or population with which the data set was opened, if it has any to choose."""
    split: str | None = None
    """Split that was trained on."""
    lists: str | None = None
    """Where the lists of images came from, in words."""
    marks: Items[Mark] = ()
    """What keeps the training set from being the published one."""
    data_sha256: str | None = None
    """Hash of the bytes of the images and masks."""
    classes: Items[int] = ()
    """Ids of the classes that were trained on."""
    class_names: Items[str] = ()
    """Names of these classes."""
    images: int | None = None
    """Images that were trained on."""
    steps_planned: int | None = None
    """Optimiser steps that were planned."""
    batch: int | None = None
    """Episodes per step, over all processes and accumulated parts."""
    forwards: int | None = None
    """Forward passes per step, over all processes."""
    recipe: dict[str, Any] | None = None
    """Optimiser, schedule and the rest of the recipe that was followed."""
    size: int | None = None
    """Side of the square network input in pixels."""
    seed: int | None = None
    """Seed of weights and episodes."""
    average: Number | None = None
    """Decay of the running average of the weights; None without one."""
    iou_loss: Number | None = None
    """Weight of the IoU loss; None without one."""
    draw: str | None = None
    """What is drawn with equal probability: `classes` or `pairs` of image and class."""
    invert: Number | None = None
    """Share of the episodes in which object and background change places; None without any."""
    without_novel: bool | None = None
    """Whether images that also show a test class were left out."""
    amp: bool | None = None
    """Whether forward passes used bfloat16."""
    half_features: bool | None = None
    """Whether stored features in half precision were used."""
    device: str | None = None
    """Device type, such as `cuda`."""
    selection: str | None = None
    """What the checkpoint was chosen by."""
    validation_episodes: int | None = None
    """Episodes of each validation."""
    validation_every: int | None = None
    """Steps between validations."""
    method: str | None = None
    """Id of the method."""
    method_sha256: str | None = None
    """Hash of the source of the method plugin."""
    config: dict[str, Any] | None = None
    """Every setting of the method."""
    backbone: str | None = None
    """Id of the backbone."""
    layout: str | None = None
    """Variant of the backbone's architecture."""
    weights: str | None = None
    """Id of the backbone's weights."""
    weights_sha256: str | None = None
    """Hash of the backbone's weights."""
    backbone_source_sha256: str | None = None
    """Hash of the source of the backbone plugin."""
    stage: str | None = None
    """Stage that was trained, such as that of a base network; None for the training that a method is used after."""
    start: str | None = None
    """Name of the checkpoint of the stage before, with which the training started; None without one."""
    start_sha256: str | None = None
    """Hash of that file."""
    start_training: str | None = None
    """Hash of the facts of that stage's training."""
    fssbench: str | None = None
    """Version of fssbench that trained."""
    steps: int | None = None
    """Optimiser steps after which this checkpoint was written."""
    episodes: int | None = None
    """Episodes that it was trained on until then."""
    validation_miou: Number | None = None
    """mIoU of its validation, in percent."""
    training: str | None = None
    """Hash of all facts that were known before the first step."""
    image_ids: Items[str] = ()
    """Beginnings of the hashes of the image names that were trained on."""
    content_ids: Items[str] = ()
    """Beginnings of the hashes of the image contents that were trained on."""

    @classmethod
    def _split_stored(cls, stored: Mapping[Any, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read the fields that have the right form, and of a list the items that have it; keep the rest."""
        known, unknown = super()._split_stored(stored)
        for name, value in list(known.items()):
            if cls._fits(name, value):
                continue
            unknown[name] = known.pop(name)
            if isinstance(value, list) and isinstance(cls.model_fields[name].default, tuple):
                known[name] = tuple(item for item in value if cls._fits(name, (item,)))
        return known, unknown

    @classmethod
    def _fits(cls, name: str, value: Any) -> bool:
        try:
            cls.model_validate({name: value})
        except ValidationError:
            return False
        return True


class CheckpointHeader(StoredRecord):
    """What our own checkpoint files say of themselves."""

    format: int
    """Version of the checkpoint format."""
    method: str | None = None
    """Id of the method that it was written for."""
    backbone: str | None = None
    """Id of the method's backbone."""
    layout: str | None = None
    """Variant of the backbone's architecture."""
    weights: str | None = None
    """Id of the backbone's weights."""
    weights_sha256: str | None = None
    """Hash of the backbone's weights."""
    config: dict[str, Any] = {}
    """Every setting of the method."""
    manifest: TrainingManifest = TrainingManifest()
    """The facts of the training."""
