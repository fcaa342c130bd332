"""Trainings in stages: a method whose base network is trained first, and starts from its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fssbench.contracts.checkpoint import TrainingManifest
from fssbench.contracts.marks import Mark
from fssbench.contracts.methods import Method, owns_backbone
from fssbench.errors import DataError, UsageError, unknown
from fssbench.files.hashing import hash_weights_file
from fssbench.loading import checkpoints
from fssbench.plural import join_some
from fssbench.training.episodes import TrainingSet


@dataclass(frozen=True)
class Start:
    """The checkpoint of the stage before."""

    name: str
    sha256: str
    manifest: TrainingManifest


def list_stage_facts(stage: str | None, start: Start | None) -> dict[str, Any]:
    """Make the manifest's fields of a training in stages; none for a training in one go."""
    facts: dict[str, Any] = {} if stage is None else {"stage": stage}
    if start is not None:
        facts |= {"start": start.name, "start_sha256": start.sha256}
        facts |= {"start_training": start.manifest.training}
    return facts


def join_marks(start: Start | None, own: Sequence[Mark]) -> tuple[Mark, ...]:
    """Join the marks of a training set with those of the stage before, each once."""
    before = start.manifest.marks if start else ()
    return tuple(dict.fromkeys((*own, *before)))


def list_seen_pictures(
    start: Start | None, image_ids: Sequence[str], content_ids: Sequence[str]
) -> dict[str, Any]:
    """Make the manifest's fields of the pictures trained on, those of the stage before included.

    Args:
        start: the stage before.
        image_ids: pictures of this training by name, see `fssbench.loading.contamination.make_image_ids`.
        content_ids: the same by content.
    """
    own = {"image_ids": tuple(image_ids), "content_ids": tuple(content_ids)}
    if start is None:
        return own
    return {name: tuple(sorted({*ids, *getattr(start.manifest, name)})) for name, ids in own.items()}


def find_stage_before(cls: type[Method], stage: str | None) -> str | None:
    """Name the stage whose checkpoint a stage starts from; None if it starts from the seed.

    Args:
        cls: the method.
        stage: one of its stages, or None for its last training.

    Raises:
        UsageError: if the method has no such stage.
    """
    names = list(cls.stages)
    if stage is None:
        return names[-1] if names else None
    if not names:
        raise UsageError(
            f"method {cls.card.name!r} is trained in one go and has no stage {stage!r}. Next: leave --stage out"
        )
    if stage not in names:
        raise unknown(f"stage of method {cls.card.name}", stage, names)
    place = names.index(stage)
    return names[place - 1] if place else None


def require_start(cls: type[Method], stage: str | None, start: Path | None) -> None:
    """Refuse a checkpoint to start from where none is used, and its absence where one is needed.

    Raises:
        UsageError: with the next command.
    """
    before = find_stage_before(cls, stage)
    name = cls.card.name
    this = f"stage {stage!r} of method {name!r}" if stage else f"the training of method {name!r}"
    if before is None and start is not None:
        raise UsageError(f"{this} starts from the seed, and --start names {start}. Next: leave it out")
    if before is not None and start is None:
        raise UsageError(
            f"{this} starts from a checkpoint of its stage {before!r}. Next: `fssbench train --method {name} --stage "
            f"{before}` with the same benchmark and fold, then --start with the checkpoint that it writes"
        )


def choose_start_weights(cls: type[Method], start: Path | None, weights: str | None) -> str | None:
    """Choose the backbone weights of a training: a checkpoint that brings the backbone makes others superfluous.

    Raises:
        UsageError: if weights are named too.
    """
    if start is None or not owns_backbone(cls):
        return weights
    if weights is not None:
        raise UsageError(
            f"--start {start} brings the backbone, and --weights names {weights}. Next: leave --weights out"
        )
    return "random"


def load_start(method: Method, path: Path | None, source: TrainingSet) -> Start | None:
    """Load the checkpoint of the stage before into a method.

    It must have been trained on the classes of this training and on no other: a base network that knows a test class
    would make the test worthless.

    Raises:
        UsageError: if a checkpoint is needed and not named, or named and not needed.
        DataError: if it is of another stage, method, backbone, setting, data set or class.
    """
    require_start(type(method), method.stage, path)
    if path is None:
        return None
    if not path.is_file():
        raise DataError(f"the checkpoint to start from, {path}, does not exist. Next: --start FILE")
    header = checkpoints.read_header(path)
    checkpoints.load_own(method, path, stage=find_stage_before(type(method), method.stage))
    assert header is not None  # otherwise it was refused
    manifest = header.manifest
    _require_same_classes(path, manifest, source)
    return Start(path.name, hash_weights_file(path), manifest)


def _require_same_classes(path: Path, manifest: TrainingManifest, source: TrainingSet) -> None:
    dataset = source.dataset.card.name
    if manifest.dataset != dataset:
        raise DataError(
            f"checkpoint {path.name} was trained on {manifest.dataset}, and this training is on {dataset}. Next: train "
            f"its stage {manifest.stage!r} on {dataset}"
        )
    differing = set(manifest.classes) ^ set(source.classes)
    if differing:
        names = dict(zip(manifest.classes, manifest.class_names, strict=False)) | source.classes
        shown = join_some((f"{names.get(c, '?')} (id {c})" for c in sorted(differing)), 8)
        raise DataError(
            f"checkpoint {path.name} and this training have other classes of {dataset}: {shown}. "
            f"Next: train its stage {manifest.stage!r} for the same fold and options"
        )
