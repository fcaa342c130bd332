"""Splits a cell into parts: foreground IoU by class, and by object size.

The IoU of a part is a ratio of sums over its episodes.  Its interval comes from the bootstrap draws that all methods
of the same place share.  Both splits are secondary to mIoU: they show which episodes determine it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fssbench.api import (
    Cell,
    Estimate,
    RunResult,
    distinct_episodes,
    estimate_of_runs,
    mean_sample,
    restrict_to,
)

from .text import clean

EDGES = (0.0, 0.01, 0.05, 0.15, 0.35, 0.60, 1.0)
"""Bounds of the size bins, as shares of the image's valid pixels.  The lower bound belongs to the bin."""


@dataclass(frozen=True)
class Part:
    """One class, or one bin of object sizes."""

    key: int
    """Class id, or number of the bin."""
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
            for c in run.classes:
                subsets.append(_join_episodes([run], [run.class_ids == c], f"class {c}"))
                places.append((n, c))
    samples = estimate_of_runs(subsets, resamples=resamples, seed=seed)
    parts_by_cell = []
    for n in range(len(cells)):
        parts = []
        for c in sorted({k for m, k in places if m == n}):
            positions = [i for i, place in enumerate(places) if place == (n, c)]
            count = distinct_episodes(subsets[i] for i in positions)
            iou = mean_sample([samples[i][0] for i in positions]).estimate
            parts.append(Part(c, names.get(c, f"class {c}"), count, iou))
        parts_by_cell.append(tuple(parts))
    return parts_by_cell


def split_by_size(cells: Sequence[Cell], *, resamples: int, seed: int) -> list[tuple[Part, ...]]:
    """Return the foreground IoU of each cell by object size, the share of valid pixels that the object covers.

    Sums run over all episodes of a bin, for all classes and folds together.  A bin without episodes has IoU nan.

    Args:
        cells: cells of one benchmark and shot.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Returns:
        One tuple per cell, from small to large objects.
    """
    subsets = []
    episodes = []
    for cell in cells:
        runs = [run for _, run in sorted(cell.folds.items())]
        bins = [np.digitize(compute_object_shares(run), EDGES[1:-1]) for run in runs]
        for k in range(len(EDGES) - 1):
            in_bin = [b == k for b in bins]
            subsets.append(_join_episodes(runs, in_bin, f"size {k}"))
            episodes_of_bin = (
                restrict_to(run, np.flatnonzero(rows)) for run, rows in zip(runs, in_bin, strict=True)
            )
            episodes.append(distinct_episodes(episodes_of_bin))
    samples = estimate_of_runs(subsets, resamples=resamples, seed=seed)
    width = len(EDGES) - 1
    return [
        tuple(
            Part(k, name_bin(k), episodes[n * width + k], samples[n * width + k][0].estimate)
            for k in range(width)
        )
        for n in range(len(cells))
    ]


def compute_object_shares(run: RunResult) -> NDArray[np.float64]:
    """Return the share of the valid pixels that the object covers, per episode: (N,), 0 to 1.

    A valid pixel is either background in both truth and prediction, or in the union of the foregrounds.
    """
    valid = run.union[:, 1] + run.inter[:, 0]
    return run.target / np.maximum(valid, 1)


def compute_episode_ious(run: RunResult) -> NDArray[np.float64]:
    """Return the foreground IoU of each episode in percent: (N,).  nan if truth and prediction are empty."""
    union = run.union[:, 1].astype(float)
    return np.where(union > 0, run.inter[:, 1] / np.maximum(union, 1) * 100, math.nan)


def name_bin(k: int) -> str:
    """Return the name of a bin of `EDGES`.

    Example:
        >>> name_bin(1)
        '1 to 5 %'
    """
    low, high = (f"{100 * edge:g}" for edge in EDGES[k : k + 2])
    return f"below {high} %" if k == 0 else f"{low} to {high} %"


def _join_episodes(runs: Sequence[RunResult], keep: Iterable[NDArray[np.bool_]], stream: str) -> RunResult:
    """Join some episodes of some runs to one run with one class.

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
        runs[0].with_absent_rule("exclude"),
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
