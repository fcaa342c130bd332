"""Provenance of the numbers: one line per run, its IoU per class, and the machine that ran it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fssbench.api import (
    Cell,
    Context,
    LegendMark,
    RunResult,
    describe_count,
    mark_letters,
    name_weights,
    row_title,
)

from .text import NOTHING, clean, format_count, format_parameters, format_percent

_ELSEWHERE = {
    "checkpoint",
    "checkpoint_sha256",
    "created_utc",
    "benchmark_title",
    "category",
    "label",
    "title",
    "ablations",
    "ablation_labels",
    "marks",
    "learnable",
    "parameters",
    "weights",
    "pretraining",
    "folds",
    "command",
    "training",
}


@dataclass(frozen=True)
class RunLine:
    """One run as the provenance table prints it."""

    slug: str
    label: str
    backbone: str
    fold: int
    shot: int
    seed: int
    identity: str
    """First twelve digits of the identity."""
    plan: str
    """First twelve digits of the episode set's hash."""
    protocol: str
    weights: str
    episodes: str
    """Counted and planned episodes."""
    parameters: str
    """Learnable and all parameters."""
    milliseconds: str
    """Milliseconds per episode."""
    marks: str
    classes: tuple[tuple[str, str], ...]
    """Name and IoU in percent of each class."""
    absent: tuple[str, ...]
    """Classes without a pixel in any episode."""
    benchmark: str = ""
    checkpoint: str = ""
    """Name of the weights' file and first digits of its hash.  Empty if there is no file."""
    lists: str = ""
    """Origin of the image lists."""
    created: str = ""
    """Day on which the run was started."""


@dataclass(frozen=True)
class Deviations:
    """Deviations of the runs of one benchmark from its published protocol."""

    benchmark: str
    items: tuple[tuple[str, str], ...]
    """Each deviation with the methods that have it."""


def list_deviations(cells: Iterable[Cell]) -> tuple[Deviations, ...]:
    """List the deviations from the published protocols that the runs record, by benchmark."""
    by_benchmark: dict[str, dict[str, dict[str, None]]] = {}
    methods_by_benchmark: dict[str, dict[str, None]] = {}
    for cell in cells:
        methods_by_text = by_benchmark.setdefault(cell.benchmark, {})
        methods_by_benchmark.setdefault(cell.benchmark, {})[row_title(cell)] = None
        for run in cell.folds.values():
            for text in _list_run_deviations(run):
                methods_by_text.setdefault(text, {})[clean(row_title(cell))] = None
    return tuple(
        Deviations(
            clean(name),
            tuple(
                (text, "all methods" if len(who) == len(methods_by_benchmark[name]) else ", ".join(who))
                for text, who in methods_by_text.items()
            ),
        )
        for name, methods_by_text in by_benchmark.items()
    )


def _list_run_deviations(run: RunResult) -> Iterable[str]:
    yield from map(clean, run.marks)
    if not run.protocol.startswith("published"):
        yield f"episodes drawn by protocol {clean(run.protocol)}, not by the published one"
    if run.score_size != "input":
        yield f"scored at {clean(run.score_size)} size instead of the network's input size"
    lists = clean(run.manifest.block.lists)
    if lists.startswith("files on disk"):
        yield "lists of images made from the files on disk, not those of the reference repositories"
    if run.absent:
        absent = describe_count(len(run.absent), "class", "classes")
        yield f"{absent} without a pixel in any episode ({_describe_absent_rule(run)})"


def _describe_absent_rule(run: RunResult) -> str:
    return "left out of the mean" if run.absent_rule == "exclude" else "counted as 0"


def describe_run(run: RunResult, legend: dict[str, LegendMark]) -> RunLine:
    """Return the line of a run in the provenance table."""
    names = dict(zip(run.classes, map(clean, run.class_names), strict=False))
    return RunLine(
        slug=clean(run.slug),
        label=clean(run.label),
        backbone=clean(run.backbone),
        fold=run.fold,
        shot=run.shot,
        seed=run.seed,
        identity=clean(run.identity)[:12],
        plan=clean(run.plan_sha256)[:12],
        protocol=clean(run.protocol),
        weights=clean(name_weights(run)),
        episodes=f"{format_count(run.episodes)} of {format_count(run.planned)}",
        parameters=f"{format_parameters(run.learnable)} of {format_parameters(run.parameters)}",
        milliseconds=f"{run.seconds * 1000:.0f}" if math.isfinite(run.seconds) else NOTHING,
        marks=mark_letters(run.marks, legend),
        classes=tuple(
            (names.get(c, f"class {c}"), format_percent(run.per_class[c])) for c in sorted(run.per_class)
        ),
        absent=tuple(names.get(c, f"class {c}") for c in run.absent),
        benchmark=clean(run.benchmark),
        checkpoint=_describe_checkpoint(run.manifest.context),
        lists=clean(run.manifest.block.lists),
        created=clean(run.manifest.context.created_utc or "")[:10],
    )


def _describe_checkpoint(context: Context) -> str:
    name, sha = context.checkpoint, context.checkpoint_sha256
    return " ".join(clean(part) for part in (name, sha[:12] if sha else None) if part)


def collect_environment(runs: Iterable[RunResult]) -> tuple[tuple[str, str], ...]:
    """Return what the context blocks of the manifests record, as name and value.

    If runs have different values, the value lists them.
    """
    values: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, value in _flatten(run.manifest.context.as_stored()):
            values.setdefault(name, {})[value] = None
    return tuple((name, _join_values(list(texts))) for name, texts in values.items())


def _flatten(block: Mapping[Any, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in block.items():
        if not prefix and key in _ELSEWHERE:
            continue
        name = f"{prefix}{clean(key)}"
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{name}.")
        elif isinstance(value, (list, tuple)):
            yield name, clean(" ".join(map(str, value)))
        elif value is not None:
            yield name, clean(value)


def _join_values(values: list[str]) -> str:
    if len(values) > 4:
        return f"{'; '.join(values[:3])}; and {len(values) - 3} more"
    return "; ".join(values)
