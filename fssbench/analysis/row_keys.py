"""Keys of runs: what must agree between folds of one row, rows of one method, methods of one column."""

from __future__ import annotations

import json

from fssbench.contracts.marks import MarkKind
from fssbench.contracts.provenance import BROUGHT
from fssbench.contracts.results import Cell, RunResult

Key = tuple[str, ...]

FOLD_FIELDS = frozenset({"fold", "classes", "episodes", "episodes_sha256", "data_sha256", "head_sha256"})
"""Fields of the identity that always differ between folds."""
SILENT = (MarkKind.RANDOM_BACKBONE, MarkKind.UNTRAINED)
"""Kinds of marks without which a method's figures would be those of another method."""
_FOLD_MARKS: frozenset[str] = frozenset(
    {
        MarkKind.AS_PUBLISHED_MASKS,
        MarkKind.AS_PUBLISHED_TRAINING_MASKS,
        MarkKind.CAPPED,
        MarkKind.CLASSES,
        MarkKind.COPIED_QUERIES,
        MarkKind.DOUBTFUL_MASKS,
        MarkKind.DOUBTFUL_TRAINING_MASKS,
        MarkKind.FOLDS,
        MarkKind.INCOMPLETE,
        MarkKind.JOINED,
        MarkKind.OTHER_LISTS,
        MarkKind.OTHER_POPULATION,
        MarkKind.QUERY_AMONG_SUPPORTS,
        MarkKind.SAMPLE,
        MarkKind.TRAINED_ON_TEST_CLASSES,
        MarkKind.TRAINED_ON_TEST_IMAGES,
    }
)
"""Kinds of marks that may hold for some folds of one measurement and not for others: they depend on the
episodes and images of a fold."""
_INERT = {"pydantic"}
"""Packages that cannot change a number: pydantic checks settings, whose values are in the identity."""
COLUMN = (
    "benchmark",
    "shot",
    "seed",
    "protocol",
    "score size",
    "data set variant",
    "cap",
    "input size",
    "support sets",
    "precision",
    "batch",
)
"""Names of the parts of a column's key."""
COLUMN_OPTIONS = {
    "seed": "--seed",
    "protocol": "--protocol",
    "score size": "--score-size",
    "data set variant": "--benchmark",
    "cap": "--episodes",
    "input size": "--size",
    "support sets": "--supports",
    "precision": "--precision",
    "batch": "--batch",
}
"""Options of `fssbench run` that choose the parts in which columns of one benchmark and shot can differ."""


def method_key(run: RunResult) -> Key:
    """Key that is equal for all rows of one method, on all benchmarks.

    Trainings are not part of it: a method has one per source data set.
    """
    settings = sorted((k, str(v)) for k, v in run.manifest.block.config.items())
    return (
        *program_key(run),
        *(run.label, str(settings)),
        " ".join(kind for kind in method_marks(run) if kind in SILENT),
    )


def program_key(run: RunResult) -> Key:
    """Key of program and backbone: equal for a method with and without one of its parts."""
    block = run.manifest.block
    return (
        *(run.method, run.backbone, run.weights),
        str(block.method_version),
        str(block.source_sha256),
        str(block.layout),
        str(block.backbone_source_sha256),
        str(_find_backbone_weights(run)),
    )


def column_key(run: RunResult) -> Key:
    """Key that is equal for methods in one column, which can be compared."""
    block = run.manifest.block
    return (
        run.benchmark,
        str(run.shot),
        str(run.seed),
        run.protocol,
        run.score_size,
        str(block.dataset_variant),
        "; ".join(mark for mark in run.marks if mark.kind == MarkKind.CAPPED),
        str(block.size),
        str(run.support_sets),
        block.dtype,
        str(block.batch),
    )


def row_key(run: RunResult) -> Key:
    """Key that is equal for all folds of one row.

    That is the identity block without `FOLD_FIELDS`, the marks of method and data, the training as its
    checkpoint records it, and the versions of packages.  A package may decode, resize or compute
    differently in another version (Pillow, torch, timm), and the identity does not hold the versions.
    Threads, processor and operating system change the order of sums at most and may differ.
    """
    block = {k: v for k, v in run.manifest.block.as_stored().items() if k not in FOLD_FIELDS}
    block["weights_sha256"] = _find_backbone_weights(run)
    if run.manifest.context.loads_no_weights:
        block["head_sha256"] = run.manifest.block.head_sha256  # no training: equal in all folds
    return (
        *method_key(run),
        *column_key(run),
        json.dumps(block, sort_keys=True, default=str),
        " ".join(method_marks(run)),
        " ".join(map(str, training_of(run))),
        " ".join(f"{name}={version}" for name, version in list_packages(run).items()),
    )


def _find_backbone_weights(run: RunResult) -> str | None:
    """Hash of the backbone's weights, unless the checkpoint of each fold brings its own."""
    return None if run.weights == BROUGHT else run.manifest.block.weights_sha256


def method_marks(run: RunResult) -> tuple[str, ...]:
    """Kinds of the run's marks that must agree between folds, sorted.

    Kinds, because a mark's numbers (`part-trained (300 steps on 707 images)`) are those of one fold.
    """
    stored = run.manifest.context.marks  # without what is derived from counted episodes
    return tuple(sorted({str(mark.kind) for mark in stored} - _FOLD_MARKS - {""}))


def training_of(run: RunResult) -> tuple[str, int | None]:
    """Hash of the training that the run's weights come from, and its shot.

    The hash is `none` without a checkpoint and `unknown` if the checkpoint says nothing about its training.
    """
    context = run.manifest.context
    if context.loads_no_weights:
        return "none", None
    if context.training is None:
        return "unknown", None
    return context.training.sha256, context.training.shot


def list_packages(run: RunResult) -> dict[str, str]:
    """Versions of the packages that can move numbers, without the build (`+cpu`), by name."""
    packages = sorted(run.manifest.context.packages.items())
    return {k: v.partition("+")[0] for k, v in packages if v is not None and k not in _INERT}


def read_start_time(run: RunResult) -> str:
    """Start time of the run in UTC; empty if it is not recorded."""
    return run.manifest.context.created_utc or ""


def first_run(cell: Cell) -> RunResult:
    """Return the run of the cell's first fold."""
    return cell.folds[min(cell.folds)]
