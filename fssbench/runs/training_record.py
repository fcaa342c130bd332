"""The facts that a run records about the training of its weights, by which the folds of one training are recognised.

Every fold has a separate checkpoint, so hashes of weights differ from fold to fold.  The other facts in the training
manifests are equal for the folds of one training.
"""

from __future__ import annotations

from fssbench.contracts.checkpoint import TrainingManifest
from fssbench.contracts.run_manifest import TrainingSummary
from fssbench.files.canonical_json import digest

_OF_ONE_FOLD = {
    "benchmark",
    "classes",
    "class_names",
    "content_ids",
    "data_sha256",
    "episodes",
    "fold",
    "image_ids",
    "images",
    "lists",
    "marks",
    "steps",
    "training",
    "validation_episodes",
    "validation_miou",
}
"""Facts of a manifest that differ between the folds of one training: classes, images, and the step chosen by the
validation.  `benchmark` is among them because one training serves several benchmarks."""
_SHOWN = ("dataset", "seed", "size", "steps_planned")


def summarise_training(manifest: TrainingManifest | None) -> TrainingSummary | None:
    """Describe a training by the facts that its folds share.

    Args:
        manifest: the training manifest of a checkpoint.

    Returns:
        The hash of the facts that all folds share, the shot, and a few facts for people; None if there is no manifest.
    """
    stored = manifest.as_stored() if manifest is not None else {}
    if manifest is None or not stored:
        return None
    shared = {name: value for name, value in stored.items() if name not in _OF_ONE_FOLD and name != "shot"}
    try:
        sha256 = digest(shared)
    except (TypeError, ValueError):  # a manifest of another program may hold anything
        sha256 = digest({"text": repr(sorted(shared.items(), key=repr))})
    facts = {name: value for name in _SHOWN if (value := getattr(manifest, name)) is not None}
    return TrainingSummary(sha256=sha256, shot=manifest.shot, **facts)
