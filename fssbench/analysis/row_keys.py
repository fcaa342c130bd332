"""Keys of runs: what must agree between folds of one row, rows of one method, methods of one column."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fssbench.contracts.marks import MarkKind, parse_mark
from fssbench.contracts.results import Cell, RunResult

Key = tuple[str, ...]

FOLD_FIELDS = frozenset({"fold", "classes", "episodes", "episodes_sha256", "data_sha256", "head_sha256"})
"""Fields of the identity that always differ between folds."""
BROUGHT = "reference"
"""Id of backbone weights that came with the checkpoint; they are part of the training and differ per fold."""
SILENT = (MarkKind.RANDOM_BACKBONE, MarkKind.UNTRAINED)
"""Kinds of marks without which a method's figures would be those of another method."""
_FOLD_MARKS: frozenset[str] = frozenset(
    {
        MarkKind.AS_PUBLISHED_MASKS,
        MarkKind.AS_PUBLISHED_TRAINING_MASKS,
        MarkKind.CAPPED,
        MarkKind.CLASSES,
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
COLUMN = ("benchmark", "shot", "seed", "protocol", "score size", "data set variant", "cap", "input size")
"""Names of the parts of a column's key."""


def method_key(run: RunResult) -> Key:
    """Key that is equal for all rows of one method, on all benchmarks.

    Trainings are not part of it: a method has one per source data set.
    """
    settings = sorted((k, str(v)) for k, v in block_of(run).get("config", {}).items())
    return (
        *program_key(run),
        *(run.label, str(settings)),
        " ".join(kind for kind in method_marks(run) if kind in SILENT),
    )


def program_key(run: RunResult) -> Key:
    """Key of program and backbone: equal for a method with and without one of its parts."""
    block = block_of(run)
    return (
        *(run.method, run.backbone, run.weights),
        str(block.get("method_version")),
        str(block.get("source_sha256")),
        str(block.get("layout")),
        str(block.get("backbone_source_sha256")),
        str(_backbone_weights(run)),
    )


def column_key(run: RunResult) -> Key:
    """Key that is equal for methods in one column, which can be compared."""
    block = block_of(run)
    return (
        run.benchmark,
        str(run.shot),
        str(run.seed),
        run.protocol,
        run.score_size,
        str(block.get("dataset_variant")),
        "; ".join(mark for mark in run.marks if mark.kind == MarkKind.CAPPED),
        str(block.get("size")),
    )


def row_key(run: RunResult) -> Key:
    """Key that is equal for all folds of one row.

    That is the identity block without `FOLD_FIELDS`, the marks of method and data, the training as its
    checkpoint records it, and the versions of packages.  A package may decode, resize or compute
    differently in another version (Pillow, torch, timm), and the identity does not hold the versions.
    Threads, processor and operating system change the order of sums at most and may differ.
    """
    block = {k: v for k, v in block_of(run).items() if k not in FOLD_FIELDS}
    block["weights_sha256"] = _backbone_weights(run)
    if loads_no_weights(run):
        block["head_sha256"] = block_of(run).get("head_sha256")  # no training: equal in all folds
    return (
        *method_key(run),
        *column_key(run),
        json.dumps(block, sort_keys=True, default=str),
        " ".join(method_marks(run)),
        " ".join(map(str, training_of(run))),
        " ".join(f"{name}={version}" for name, version in packages_of(run).items()),
    )


def _backbone_weights(run: RunResult) -> Any:
    """Hash of the backbone's weights, unless the checkpoint of each fold brings its own."""
    return None if run.weights == BROUGHT else block_of(run).get("weights_sha256")


def method_marks(run: RunResult) -> tuple[str, ...]:
    """Kinds of the run's marks that must agree between folds, sorted.

    Kinds, because a mark's numbers (`part-trained (300 steps on 707 images)`) are those of one fold.
    """
    stored = context_of(run).get("marks", run.marks)  # without what is derived from counted episodes
    return tuple(sorted({str(parse_mark(mark).kind) for mark in stored} - _FOLD_MARKS - {""}))


def training_of(run: RunResult) -> tuple[str, int | None]:
    """Hash of the training that the run's weights come from, and its shot.

    The hash is `none` without a checkpoint and `unknown` if the checkpoint says nothing about its training.
    """
    if loads_no_weights(run):
        return "none", None
    record = context_of(run).get("training")
    if isinstance(record, Mapping) and record.get("sha256"):
        return str(record["sha256"]), record.get("shot")
    return "unknown", None


def packages_of(run: RunResult) -> dict[str, str]:
    """Versions of the packages that can move numbers, without the build (`+cpu`), by name."""
    packages = context_of(run).get("packages")
    items = sorted(packages.items()) if isinstance(packages, Mapping) else ()
    return {k: str(v).partition("+")[0] for k, v in items if v is not None and k not in _INERT}


def created(run: RunResult) -> str:
    """Start time of the run in UTC; empty if it is not recorded."""
    return str(context_of(run).get("created_utc") or "")


def loads_no_weights(run: RunResult) -> bool:
    """Whether the run is known to have loaded no weights of the method."""
    context = context_of(run)
    return "checkpoint" in context and context["checkpoint"] is None


def first_run(cell: Cell) -> RunResult:
    """The run of the cell's first fold."""
    return cell.folds[min(cell.folds)]


def block_of(run: RunResult) -> dict[str, Any]:
    """The identity block of a run's manifest."""
    block: dict[str, Any] = run.manifest.get("block", {})
    return block


def context_of(run: RunResult) -> dict[str, Any]:
    """The context block of a run's manifest."""
    context: dict[str, Any] = run.manifest.get("context", {})
    return context
