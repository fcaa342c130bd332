"""Splits a cell into parts: foreground IoU by class.

The IoU of a part is a ratio of sums over its episodes.  Its interval comes from the bootstrap draws that all methods
of the same place share.  It is secondary to mIoU: it shows which episodes determine it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fssbench.api import (
    Cell,
    Estimate,
    RunResult,
    distinct_episodes,
    estimate_miou_of_runs,
    mean_sample,
)

from .text import clean


@dataclass(frozen=True)
class Part:
    """One class."""

    key: int
    """Class id."""
    name: str
    episodes: int
    iou: Estimate
    """Foreground IoU in percent.  nan if no episode has a pixel."""


def split_by_class(cells: Sequence[Cell], *, resamples: int, seed: int) -> list[tuple[Part, ...]]:
    """Return the IoU of each class of each cell.  As in mIoU, it is the mean over the folds that test the class.

    Args:
        cells: cells of one benchmark and shot.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Returns:
        One tuple per cell, in the order of class ids.
    """
    subsets: list[RunResult] = []
    places: list[tuple[int, int]] = []
    names: dict[int, str] = {}
    for n, cell in enumerate(cells):
        for _, run in sorted(cell.folds.items()):
            names |= {c: clean(name) for c, name in zip(run.classes, run.class_names, strict=False)}
            bare = run.with_absent_rule("exclude")
            for c in run.classes:
                subsets.append(_join_episodes([bare], [run.class_ids == c], f"class {c}"))
                places.append((n, c))
    samples = estimate_miou_of_runs(subsets, resamples=resamples, seed=seed)
    parts_by_cell = []
    for n in range(len(cells)):
        parts = []
        for c in sorted({k for m, k in places if m == n}):
            positions = [i for i, place in enumerate(places) if place == (n, c)]
            count = distinct_episodes(subsets[i] for i in positions)
            iou = mean_sample([samples[i] for i in positions]).estimate
            parts.append(Part(c, names.get(c, f"class {c}"), count, iou))
        parts_by_cell.append(tuple(parts))
    return parts_by_cell


def _join_episodes(runs: Sequence[RunResult], keep: Iterable[NDArray[np.bool_]], stream: str) -> RunResult:
    """Join some episodes of some runs to one run with one class, scored by the rule of the first.

    Folds that are tested on the same plan have the same queries.

    Args:
        runs: the runs.
        keep: for each run, which of its episodes are taken (N,).
        stream: name of the part.  It decides the bootstrap draws together with the plans.
    """
    selections = list(zip(runs, keep, strict=True))
    first = {run.plan_sha256: f"{run.fold}/" for run in reversed(runs)}
    queries = [
        first[run.plan_sha256] + run.queries[i] for run, kept in selections for i in np.flatnonzero(kept)
    ]
    return replace(
        runs[0],
        plan_sha256=" ".join([*(run.plan_sha256 for run in runs), stream]),
        classes=(0,),
        class_names=("",),
        class_ids=np.zeros(len(queries), dtype=np.int64),
        inter=np.concatenate([run.inter[kept] for run, kept in selections]),
        union=np.concatenate([run.union[kept] for run, kept in selections]),
        target=np.concatenate([run.target[kept] for run, kept in selections]),
        indices=np.concatenate([run.indices[kept] for run, kept in selections]),
        queries=tuple(queries),
        supports=(),
        whole=True,
    )
