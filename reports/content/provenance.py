"""Where numbers come from: one line per run, its IoU per class, and the machine that made it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fssbench.api import Cell, RunResult, row_title

from .marks import Mark, letters
from .text import NOTHING, clean, millions, percent, thousands

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
    """Counted of planned."""
    parameters: str
    """Learnable of all."""
    milliseconds: str
    """Per episode."""
    marks: str
    classes: tuple[tuple[str, str], ...]
    """Name and IoU in percent of each class."""
    absent: tuple[str, ...]
    """Classes without a pixel in any episode."""
    benchmark: str = ""
    checkpoint: str = ""
    """Name and first digits of the hash of the file that the weights came from; empty where none."""
    lists: str = ""
    """Where the lists of images came from."""
    created: str = ""
    """Day on which the run was started."""


@dataclass(frozen=True)
class Deviations:
    """How the runs of one benchmark depart from its published protocol."""

    benchmark: str
    items: tuple[tuple[str, str], ...]
    """What departs, and which methods."""


def deviations(cells: Iterable[Cell]) -> tuple[Deviations, ...]:
    """Every departure from the published protocols that the runs themselves record."""
    by_benchmark: dict[str, dict[str, dict[str, None]]] = {}
    everyone: dict[str, dict[str, None]] = {}
    for cell in cells:
        told = by_benchmark.setdefault(cell.benchmark, {})
        everyone.setdefault(cell.benchmark, {})[row_title(cell)] = None
        for run in cell.folds.values():
            for text in _departures(run):
                told.setdefault(text, {})[clean(row_title(cell))] = None
    return tuple(
        Deviations(
            clean(name),
            tuple(
                (text, "all methods" if len(who) == len(everyone[name]) else ", ".join(who))
                for text, who in told.items()
            ),
        )
        for name, told in by_benchmark.items()
    )


def _departures(run: RunResult) -> Iterable[str]:
    yield from map(clean, run.marks)
    if not run.protocol.startswith("published"):
        yield f"episodes drawn by protocol {clean(run.protocol)}, not by the published one"
    if run.score_size != "input":
        yield f"scored at {clean(run.score_size)} size instead of the network's input size"
    lists = clean(_block(run).get("lists", ""))
    if lists.startswith("files on disk"):
        yield "lists of images made from the files on disk, not those of the reference repositories"
    if run.absent:
        yield f"{len(run.absent)} classes without a pixel in any episode ({_absent_rule(run)})"


def _absent_rule(run: RunResult) -> str:
    return "left out of the mean" if run.absent_rule == "exclude" else "counted as 0"


def _block(run: RunResult, name: str = "block") -> Mapping[str, Any]:
    block = run.manifest.get(name)
    return block if isinstance(block, Mapping) else {}


def run_line(run: RunResult, legend: dict[str, Mark]) -> RunLine:
    """Describe a run."""
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
        weights=clean(run.weights),
        episodes=f"{thousands(run.episodes)} of {thousands(run.planned)}",
        parameters=f"{millions(run.learnable)} of {millions(run.parameters)}",
        milliseconds=f"{run.seconds * 1000:.0f}" if math.isfinite(run.seconds) else NOTHING,
        marks=letters(run.marks, legend),
        classes=tuple((names.get(c, f"class {c}"), percent(run.per_class[c])) for c in sorted(run.per_class)),
        absent=tuple(names.get(c, f"class {c}") for c in run.absent),
        benchmark=clean(run.benchmark),
        checkpoint=_checkpoint(_block(run, "context")),
        lists=clean(_block(run).get("lists") or ""),
        created=clean(_block(run, "context").get("created_utc") or "")[:10],
    )


def _checkpoint(context: Mapping[str, Any]) -> str:
    name, sha = context.get("checkpoint"), context.get("checkpoint_sha256")
    return " ".join(clean(part) for part in (name, str(sha)[:12] if sha else None) if part)


def environment(runs: Iterable[RunResult]) -> tuple[tuple[str, str], ...]:
    """What the manifests' context blocks record, by name; values that differ between runs are listed."""
    values: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, value in _flat(_block(run, "context")):
            values.setdefault(name, {})[value] = None
    return tuple((name, _listed(list(texts))) for name, texts in values.items())


def _flat(block: Mapping[Any, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in block.items():
        if not prefix and key in _ELSEWHERE:
            continue
        name = f"{prefix}{clean(key)}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, (list, tuple)):
            yield name, clean(" ".join(map(str, value)))
        elif value is not None:
            yield name, clean(value)


def _listed(values: list[str]) -> str:
    if len(values) > 4:
        return f"{'; '.join(values[:3])}; and {len(values) - 3} more"
    return "; ".join(values)
