"""Splits figures by what an episode is like: its object's size, its difficulty, and its size beside the support's.

The figure of a stratum is mIoU of its episodes: intersections and unions are summed per class, and the IoUs are
averaged over classes and folds.  A class counts in a stratum if it has as many distinct queries there as any figure
needs (`fssbench.evidence`); the number of classes is part of the result.  A stratum in which no class has so many has
the figure of all its episodes, without an interval.

All three are known from stored counts.  The size of a support is stored beside the run; in runs of earlier versions
it is that of the same image as the query of another episode, and unknown if it is none.

Strata of difficulty are made from results: the episodes of each class are ranked by their IoU, averaged over all
methods of the column, and divided into thirds.  Their figures describe what is hard for these methods.  They are not
estimates for new episodes, because the same results choose the strata and fill them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache, reduce
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fssbench.analysis.matching import comparable, group_columns, restrict_to
from fssbench.analysis.statistics import estimate_miou_of_runs, mean_sample
from fssbench.contracts.results import Cell, Estimate, Results, RunResult
from fssbench.evidence import LEAST_IN_CLASS, collect_evidence, distinct_episodes

SIZES = (0.0, 0.01, 0.05, 0.15, 0.35, 0.60, 1.0)
"""Bounds of the strata of object size, as shares of the valid pixels.  The lower bound belongs to the stratum."""
RATIOS = (0.0, 0.25, 0.5, 2.0, 4.0, math.inf)
"""Bounds of the share that the object covers, divided by that of the supports' object."""
THIRDS = ("easy third", "middle third", "hard third")
FEWEST_METHODS = 2
"""Methods that a difficulty needs: one method would be ranked by its own results alone."""
UNKNOWN = -1
"""Number of the stratum of an episode that belongs to none."""


class Split(StrEnum):
    """Property by which episodes are divided."""

    SIZE = "object size"
    DIFFICULTY = "difficulty"
    SUPPORT_SIZE = "object size beside the support's"


@dataclass(frozen=True)
class Stratum:
    """The part of a cell's episodes that are alike in one respect."""

    split: Split
    key: int
    """Number of the stratum, from 0."""
    name: str
    episodes: int
    """Distinct episodes; those of classes with too few queries are not among them."""
    classes: int
    """Classes that the figure averages, over all folds."""
    classes_met: int
    """Classes with an episode in the stratum."""
    miou: Estimate
    """mIoU in percent; nan if there is no episode."""


def name_strata(split: Split) -> tuple[str, ...]:
    """Return the names of the strata, in their order.

    Example:
        >>> name_strata(Split.SIZE)[:2], name_strata(Split.SUPPORT_SIZE)[0]
        (('below 1 %', '1 to 5 %'), 'below 1/4')
    """
    if split == Split.DIFFICULTY:
        return THIRDS
    if split == Split.SIZE:
        percent = [f"{100 * edge:g}" for edge in SIZES]
        return tuple(
            f"below {high} %" if low == "0" else f"{low} to {high} %" for low, high in pairwise(percent)
        )
    return ("below 1/4", "1/4 to 1/2", "1/2 to 2", "2 to 4", "4 and more")


def list_strata(results: Results) -> Iterator[tuple[Cell, Stratum]]:
    """Yield the strata of every cell, column by column; the difficulty is that of the cells of a column."""
    for members in group_columns(results.cells).values():
        cells = [results.cells[i] for i in members]
        splits = [
            split_cells(cells, split, resamples=results.resamples, seed=results.bootstrap_seed)
            for split in Split
        ]
        for n, cell in enumerate(cells):
            yield from ((cell, stratum) for strata in splits for stratum in strata[n])


def split_cells(
    cells: Sequence[Cell],
    split: Split,
    *,
    resamples: int,
    seed: int,
    ranked_by: Sequence[Cell] | None = None,
) -> list[tuple[Stratum, ...]]:
    """Compute the strata of the cells of one column.

    Args:
        cells: cells of one column.
        split: what episodes are divided by.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
        ranked_by: cells of the column whose mean is the difficulty of an episode, `cells` among them; by default these.

    Returns:
        One tuple per cell, with one stratum per name.  A cell whose difficulty is not known, because no other method
        has counted the same episodes, has an empty tuple.
    """
    numbers = _number_episodes(cells, split, ranked_by or cells)
    names = name_strata(split)
    bare = [{fold: _leave_out_rest(cell.folds[fold]) for fold in numbers[n]} for n, cell in enumerate(cells)]
    selected = {
        (n, k): _select_stratum(bare[n], {fold: kinds == k for fold, kinds in numbers[n].items()})
        for n in range(len(cells))
        for k in range(len(names))
    }
    drawn = iter(
        estimate_miou_of_runs(
            [p for parts, _ in selected.values() for p in parts], resamples=resamples, seed=seed
        )
    )
    samples = {place: [next(drawn) for _ in parts] for place, (parts, _) in selected.items()}
    nothing = Estimate(math.nan, math.nan, math.nan)
    return [
        tuple(
            Stratum(
                split=split,
                key=k,
                name=name,
                episodes=distinct_episodes(selected[n, k][0]),
                classes=sum(len(part.classes) for part in selected[n, k][0]),
                classes_met=selected[n, k][1],
                miou=mean_sample(samples[n, k]).estimate if samples[n, k] else nothing,
            )
            for k, name in enumerate(names if numbers[n] else ())
        )
        for n in range(len(cells))
    ]


def _select_stratum(
    folds: Mapping[int, RunResult], chosen: dict[int, NDArray[np.bool_]]
) -> tuple[list[RunResult], int]:
    """Return the episodes of a stratum whose classes have enough queries, and how many classes it has met.

    Args:
        folds: the run of each fold, without what strata do not need.
        chosen: by fold, which episodes are in the stratum (N,).

    Returns:
        One run per fold that has such a class; if no fold has one, all episodes of the stratum.
    """
    parts = [
        replace(restrict_to(folds[fold], np.flatnonzero(rows)), whole=False)
        for fold, rows in sorted(chosen.items())
        if rows.any()
    ]
    asked = [collect_evidence([part]).asked for part in parts]
    enough = [{c for (_, c), queries in each.items() if len(queries) >= LEAST_IN_CLASS} for each in asked]
    kept = enough if any(enough) else [{c for _, c in each} for each in asked]
    return [_keep_classes(p, c) for p, c in zip(parts, kept, strict=True) if c], sum(map(len, asked))


def _leave_out_rest(run: RunResult) -> RunResult:
    """Return a run without what no figure of a stratum needs, scored by the rule of strata."""
    return replace(run, supports=(), support_pixels=(), probes=(), panels=()).with_absent_rule("exclude")


def _keep_classes(run: RunResult, kept: set[int]) -> RunResult:
    """Restrict a run to the episodes of some classes, which its mIoU then averages."""
    part = restrict_to(run, np.flatnonzero(np.isin(run.class_ids, list(kept))))
    return replace(part, classes=tuple(c for c in run.classes if c in kept))


def compute_object_shares(run: RunResult) -> NDArray[np.float64]:
    """Return the share of the valid pixels that the object covers, per episode: (N,), 0 to 1.

    A valid pixel is either background in both truth and prediction, or in the union of the foregrounds.
    """
    valid = run.union[:, 1] + run.inter[:, 0]
    return np.asarray(run.target / np.maximum(valid, 1))


def compute_support_shares(run: RunResult) -> NDArray[np.float64]:
    """Return the share of the image that the object of the supports covers, averaged over the supports: (N,).

    It is nan if the size of a support is not known, or no support shows a pixel of its object.
    """
    area = run.manifest.block.size**2
    shares = np.full(run.episodes, np.nan)
    if not run.supports:
        return shares
    own = compute_object_shares(run)
    stored = run.support_pixels or ((),) * run.episodes
    places_of_all = _find_queries(tuple(run.class_ids.tolist()), run.queries, run.supports)
    for count in set(map(len, run.supports)) - {0}:
        rows = [row for row, items in enumerate(run.supports) if len(items) == count and not stored[row]]
        places = np.array([places_of_all[row] for row in rows], dtype=np.int64).reshape(-1, count)
        sizes = np.where(places >= 0, own[places], np.nan)
        total = np.zeros(len(rows))
        for k in range(count):
            total += sizes[:, k]
        shares[rows] = np.where(total != 0, total / count, np.nan)
    for row, pixels in enumerate(stored):
        sizes_of_row = [number / area for number in pixels]
        if sum(sizes_of_row) != 0:
            shares[row] = sum(sizes_of_row) / len(sizes_of_row)
    return shares


@lru_cache(maxsize=32)
def _find_queries(
    class_ids: tuple[int, ...], queries: tuple[str, ...], supports: tuple[tuple[str, ...], ...]
) -> list[tuple[int, ...]]:
    """Find the last episode that asks each support's image for the same class; -1 if none does.

    The runs of all methods on one plan ask for the same.
    """
    last = {asked: row for row, asked in enumerate(zip(class_ids, queries, strict=True))}
    return [
        tuple([last.get((c, item), -1) for item in items])
        for c, items in zip(class_ids, supports, strict=False)
    ]


def compute_episode_ious(run: RunResult) -> NDArray[np.float64]:
    """Return the foreground IoU of each episode in percent: (N,).  nan if truth and prediction are empty."""
    union = run.union[:, 1].astype(float)
    return np.where(union > 0, run.inter[:, 1] / np.maximum(union, 1) * 100, math.nan)


_Numbers = list[dict[int, NDArray[np.int64]]]
"""For each cell, by fold: number of the stratum of each episode (N,), or `UNKNOWN`."""


def _number_episodes(cells: Sequence[Cell], split: Split, ranked_by: Sequence[Cell]) -> _Numbers:
    """Number the stratum of each episode of the cells."""
    if split != Split.DIFFICULTY:
        return _number_sizes(cells) if split == Split.SIZE else _number_support_sizes(cells)
    numbers = dict(zip(map(id, ranked_by), _number_difficulties(ranked_by), strict=True))
    return [numbers[id(cell)] for cell in cells]


def count_unknown_support_sizes(cells: Sequence[Cell]) -> int:
    """Count the episodes of the cells for which the size of the supports is not known; the largest of their numbers."""
    numbers = (
        distinct_episodes(
            restrict_to(run, np.flatnonzero(np.isnan(compute_support_shares(run))))
            for run in cell.folds.values()
        )
        for cell in cells
    )
    return max(numbers, default=0)


def _number_sizes(cells: Sequence[Cell]) -> _Numbers:
    return _number_runs(cells, lambda run: np.digitize(compute_object_shares(run), SIZES[1:-1]))


def _number_support_sizes(cells: Sequence[Cell]) -> _Numbers:
    def number(run: RunResult) -> NDArray[np.int64]:
        with np.errstate(invalid="ignore"):
            ratios = compute_object_shares(run) / compute_support_shares(run)
        return np.where(np.isnan(ratios), UNKNOWN, np.digitize(ratios, RATIOS[1:-1]))

    return _number_runs(cells, number)


def _number_runs(cells: Sequence[Cell], number: Callable[[RunResult], NDArray[np.int64]]) -> _Numbers:
    return [{fold: number(run) for fold, run in cell.folds.items()} for cell in cells]


def _number_difficulties(cells: Sequence[Cell]) -> _Numbers:
    numbers: _Numbers = [{} for _ in cells]
    for group in comparable(cells):
        if len(group) < FEWEST_METHODS:
            continue
        for fold in cells[group[0]].folds:
            runs = [cells[n].folds[fold] for n in group]
            thirds = _divide_into_thirds(runs)
            for n, run in zip(group, runs, strict=True):
                numbers[n][fold] = np.array(
                    [thirds.get(i, UNKNOWN) for i in run.indices.tolist()], dtype=np.int64
                )
    return numbers


def _divide_into_thirds(runs: Sequence[RunResult]) -> dict[int, int]:
    """Return the third of each episode that all runs have counted, by index: 0 for the easy third of its class."""
    shared = reduce(np.intersect1d, (run.indices for run in runs))
    ious = np.stack([compute_episode_ious(run)[np.isin(run.indices, shared)] for run in runs])
    with warnings.catch_warnings():
        # an episode without a pixel in any answer and the truth
        warnings.simplefilter("ignore", RuntimeWarning)
        means = np.nanmean(ious, axis=0)
    class_ids = runs[0].class_ids[np.isin(runs[0].indices, shared)]
    thirds: dict[int, int] = {}
    for c in np.unique(class_ids):
        rows = np.flatnonzero((class_ids == c) & ~np.isnan(means))
        order = rows[np.argsort(-means[rows], kind="stable")]
        thirds |= {int(shared[row]): 3 * place // len(order) for place, row in enumerate(order)}
    return thirds
