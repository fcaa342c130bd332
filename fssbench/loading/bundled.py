"""Checkpoints that come with the plugin of a method, and the choice of one for a benchmark.

A plugin names a folder beside its file (`Method.shipped`).  `fssbench train` wrote the files there, so the header of
each names its method, backbone, settings and training classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fssbench.benchmarks.catalogue import find_plan_benchmark
from fssbench.contracts.checkpoint import TrainingManifest
from fssbench.contracts.episodes import Plan
from fssbench.contracts.methods import Method
from fssbench.loading import checkpoints
from fssbench.loading.contamination import find_seen_classes
from fssbench.loading.settings import (
    find_differing_settings,
    is_accepted,
    list_settings_to_take,
    make_settings,
)

_LACKING = 0.1
"""Largest share of a benchmark's training classes that its checkpoint may lack."""


@dataclass(frozen=True)
class ShippedCheckpoint:
    """One checkpoint that comes with a plugin."""

    path: Path
    backbone: str | None
    config: dict[str, Any]
    """All settings with which it was trained."""
    training: TrainingManifest
    """The facts of its training."""

    @property
    def classes(self) -> frozenset[int]:
        """Ids of the classes it was trained on."""
        return frozenset(self.training.classes)


def list_bundled(cls: type[Method]) -> tuple[ShippedCheckpoint, ...]:
    """Return all checkpoints that come with a method, by file name.

    Raises:
        DataError: if one is damaged.
    """
    folder = bundled_folder(cls)
    if folder is None:
        return ()
    bundled = []
    for path in sorted(folder.glob("*.safetensors")):
        header = checkpoints.read_header(path)
        if header is not None and is_accepted(cls, header.method):
            bundled.append(ShippedCheckpoint(path, header.backbone, header.config, header.manifest))
    return tuple(bundled)


def bundled_folder(cls: type[Method]) -> Path | None:
    """Return the folder of the checkpoints that come with a method; None if it names none."""
    if cls.shipped is None:
        return None
    # relative to the file that names the folder: a subclass in another file may use the checkpoints of its base
    owner = next(each for each in cls.__mro__ if "shipped" in vars(each))
    return Path(inspect.getfile(owner)).parent / cls.shipped


def choose_bundled(
    cls: type[Method],
    backbone: str | None,
    plan: Plan,
    *,
    ablate: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
) -> ShippedCheckpoint | None:
    """Choose the checkpoint that comes with a method for one fold of a benchmark.

    The first choice is the checkpoint that was trained only on classes that the benchmark trains on, and on at least
    nine tenths of them.  If there is none, because the checkpoint's source is another data set, the choice is
    among the checkpoints that have seen the fewest test classes: the one that was trained on the most classes.
    `fssbench.runs.early_marks.make_training_marks` marks each run with what its checkpoint has seen.

    Args:
        cls: the method.
        backbone: name of the backbone, or None.
        plan: the plan that is to be measured.
        ablate: names of the requested ablations.
        config: the requested settings.  A checkpoint that was trained with other settings does not fit.

    Returns:
        The checkpoint, or None if no checkpoint fits.
    """
    candidates = [
        each
        for each in list_bundled(cls)
        if each.backbone == backbone and _keeps_trained_settings(cls, each.config, ablate, config or {})
    ]
    source = find_plan_benchmark(plan).trained_on
    if source.folds is not None:
        wanted = frozenset(source.folds[plan.fold])
        own = [s for s in candidates if s.training.dataset == source.dataset and s.classes <= wanted]
        # a small sample may lack a class or two; the checkpoint of another fold lacks more
        best = max(own, key=lambda s: len(s.classes), default=None)
        if best is not None and len(wanted - best.classes) <= _LACKING * len(wanted):
            return best

    def rank(each: ShippedCheckpoint) -> tuple[int, int]:
        seen = find_seen_classes(each.training, plan.dataset, plan.classes, plan.class_names)
        return len(seen), -len(each.classes)

    return min(candidates, key=rank, default=None)


def _keeps_trained_settings(
    cls: type[Method], trained: Mapping[str, Any], ablate: Sequence[str], config: Mapping[str, Any]
) -> bool:
    """Return whether the requested settings equal those with which a checkpoint was trained."""
    make_settings(cls, ablate, config)  # raises an error that explains invalid settings
    left_out = {k: v for name in ablate for k, v in cls.Config.ablations[name].settings.items()}
    requested = cls.Config(**{**list_settings_to_take(cls, trained), **config, **left_out})
    return not find_differing_settings(cls.Config, trained, requested.model_dump(mode="json"))
