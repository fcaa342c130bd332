"""Where numbers come from: one line a run, its IoU per class, and the machine that made it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fssbench.api import RunResult

from .marks import Mark, letters
from .text import NOTHING, clean, millions, percent, thousands

_ELSEWHERE = {"label", "title", "ablations", "marks", "learnable", "parameters", "weights", "folds"}


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
    )


def environment(runs: Iterable[RunResult]) -> tuple[tuple[str, str], ...]:
    """What the manifests' context blocks record, by name; values that differ between runs are listed."""
    values: dict[str, dict[str, None]] = {}
    for run in runs:
        context = run.manifest.get("context")
        for name, value in _flat(context if isinstance(context, Mapping) else {}):
            values.setdefault(name, {})[value] = None
    return tuple((name, _listed(list(found))) for name, found in values.items())


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


def _listed(found: list[str]) -> str:
    if len(found) > 4:
        return f"{'; '.join(found[:3])}; and {len(found) - 3} more"
    return "; ".join(found)
