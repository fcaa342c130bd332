"""How sure a figure is, and whether one method beats another: seeded bootstrap over episodes.

mIoU is a ratio of sums per class, so an interval comes from resampling episodes and summing again,
never from the spread of per-episode IoUs.  Episodes are resampled within their class (the number of
episodes per class is fixed by the protocol) and, where query ids are given, whole queries at a time
(a published list that is shorter than the run repeats its queries).

The draws depend on the seed, on `stream` and on the strata alone.  Runs of one plan that share a
stream therefore share every draw: their replicates subtract to a paired comparison, and average to
a correct mean where several fold models meet the same test episodes.  Plans with other episodes
have other streams, and independent draws.

Percentile intervals are used because both ends stay within 0..100 and need no variance formula;
they are a little short where a class has few episodes (about 3 % with 20).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fssbench.api.results import Estimate, RunResult
from fssbench.errors import UsageError
from fssbench.metrics import Absent, score

LEVEL = 0.95
"""Coverage of every interval."""
_BLOCK = 2_000_000
"""Draws held in memory at once: 16 MB of int64."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A figure in percent and its bootstrap replicates."""

    value: float
    """The figure itself, from `fssbench.metrics.score`."""
    replicates: NDArray[np.float64]
    """(resamples,) the figure on each resample; empty where there is nothing to resample."""

    @property
    def estimate(self) -> Estimate:
        """The figure with its 95 % percentile interval; nan ends where there are no replicates."""
        return Estimate(self.value, *_percentiles(self.replicates))


@dataclass(frozen=True, slots=True)
class Difference:
    """A minus B on the same episodes, in percentage points."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided bootstrap p value of no difference; nan where there is nothing to resample."""

    @property
    def significant(self) -> bool:
        """Whether 0 lies outside the 95 % interval; never where there is no interval."""
        return self.low > 0 or self.high < 0


def replicates(
    class_ids: ArrayLike,
    inter: ArrayLike,
    union: ArrayLike,
    classes: Iterable[int],
    *,
    absent: Absent,
    clusters: Sequence[str] | Sequence[int] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    stream: str = "",
) -> tuple[Sample, Sample]:
    """Resample a fold: mIoU and FB-IoU with their bootstrap replicates.

    Args:
        class_ids: (N,) class id of each episode.
        inter: (N, 2) intersections in pixels, background and foreground.
        union: (N, 2) unions.
        classes: class ids of the fold.
        absent: what a class without pixels is worth, as in `fssbench.metrics.score`; the same rule
            is applied to every resample.
        clusters: (N,) query of each episode; episodes of one query are drawn together.
        resamples: number of resamples.
        seed: seed of the draws, 0 or larger.
        stream: name of the episode set, such as the plan's sha256: equal streams share their draws.

    Returns:
        mIoU and FB-IoU.  With no episode the figures are nan.  Where no class has two clusters
        nothing varies, and the replicates are empty (a zero-width interval would claim certainty).

    Raises:
        UsageError: for an episode of a class outside the fold, arrays that differ in length, a
            negative seed or no resamples.
    """
    ids = np.asarray(class_ids, dtype=np.int64)
    order = list(classes)
    parts = [np.asarray(counts, dtype=np.int64).reshape(-1, 2) for counts in (inter, union)]
    groups = (
        np.arange(len(ids)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    )
    if {len(parts[0]), len(parts[1]), len(groups)} != {len(ids)}:
        raise UsageError(
            f"{len(ids)} class ids, {len(parts[0])} intersections, {len(parts[1])} unions and "
            f"{len(groups)} clusters: one of each is needed per episode"
        )
    if resamples < 1 or seed < 0:
        raise UsageError(f"resamples must be 1 or more and seed 0 or more; got {resamples} and {seed}")
    plain = score(ids, parts[0], parts[1], order, absent=absent)
    if not len(ids):
        nothing = Sample(float("nan"), np.empty(0))
        return nothing, nothing
    strata = [_by_cluster(groups[ids == c], np.hstack(parts)[ids == c]) for c in order]
    if all(len(stratum) < 2 for stratum in strata):
        return Sample(plain.miou, np.empty(0)), Sample(plain.fb_iou, np.empty(0))
    rng = _generator(seed, stream)
    sums = np.stack([_resampled(stratum, resamples, rng) for stratum in strata])
    return (
        Sample(plain.miou, _miou(sums[:, :, 1], sums[:, :, 3], absent)),
        Sample(plain.fb_iou, _fb_iou(sums.sum(axis=0))),
    )


def intervals(
    class_ids: ArrayLike,
    inter: ArrayLike,
    union: ArrayLike,
    classes: Iterable[int],
    *,
    absent: Absent,
    clusters: Sequence[str] | Sequence[int] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    stream: str = "",
) -> tuple[Estimate, Estimate]:
    """Give mIoU and FB-IoU of a fold in percent, each with its 95 % interval.

    Arguments and errors are those of `replicates`.

    Example:
        >>> miou, fb = intervals([0, 0], [[2, 1], [1, 1]], [[3, 2], [2, 3]], [0], absent="zero")
        >>> miou
        Estimate(value=40.0, low=33.33333333333333, high=50.0)
    """
    miou, fb_iou = replicates(
        class_ids,
        inter,
        union,
        classes,
        absent=absent,
        clusters=clusters,
        resamples=resamples,
        seed=seed,
        stream=stream,
    )
    return miou.estimate, fb_iou.estimate


def of_run(
    run: RunResult,
    *,
    absent: Absent,
    resamples: int = 1000,
    seed: int = 0,
    keep: NDArray[np.bool_] | None = None,
) -> tuple[Sample, Sample]:
    """Resample a run: mIoU and FB-IoU, clustered by query, in the stream of its plan.

    Args:
        run: the run; its counts, classes, queries and plan hash are read.
        absent: the benchmark's rule for classes without pixels.
        resamples: number of resamples.
        seed: seed of the draws.
        keep: (N,) episodes to use, or None for all.
    """
    kept = np.ones(len(run.class_ids), dtype=np.bool_) if keep is None else keep
    return replicates(
        run.class_ids[kept],
        run.inter[kept],
        run.union[kept],
        run.classes,
        absent=absent,
        clusters=[query for query, k in zip(run.queries, kept, strict=True) if k],
        resamples=resamples,
        seed=seed,
        stream=run.plan_sha256,
    )


def mean_sample(samples: Sequence[Sample]) -> Sample:
    """The unweighted mean over folds: of the figures, and of their replicates draw by draw.

    A fold without replicates leaves the mean without them too.

    Raises:
        UsageError: for no samples, or samples of different length.
    """
    if not samples:
        raise UsageError("a mean over folds needs at least one fold")
    value = float(np.mean([s.value for s in samples]))
    lengths = {len(s.replicates) for s in samples}
    if 0 in lengths:
        return Sample(value, np.empty(0))
    if len(lengths) > 1:
        raise UsageError(f"folds were resampled {sorted(lengths)} times; use one number")
    return Sample(value, np.mean([s.replicates for s in samples], axis=0))


def mean_estimate(samples: Sequence[Sample]) -> Estimate:
    """The mean over folds with its 95 % interval (see `mean_sample`)."""
    return mean_sample(samples).estimate


def paired_difference(
    a: Sequence[RunResult], b: Sequence[RunResult], *, absent: Absent, resamples: int = 1000, seed: int = 0
) -> Difference:
    """Compare A with B: the difference of mIoU, mean over folds, on the episodes both have counted.

    Args:
        a: runs of one method, one a fold.
        b: runs of the other, of the same plans (in any order).
        absent: the benchmark's rule for classes without pixels.
        resamples: number of resamples.
        seed: seed of the draws.

    Raises:
        UsageError: where the plans differ: then nothing is paired.
    """
    others = {(run.fold, run.plan_sha256): run for run in b}
    mine = {(run.fold, run.plan_sha256): run for run in a}
    if set(others) != set(mine) or not mine or len(mine) != len(a) or len(others) != len(b):
        raise UsageError(
            "a paired comparison needs the same plans on both sides; got folds "
            f"{[(r.fold, r.plan_sha256[:8]) for r in a]} and {[(r.fold, r.plan_sha256[:8]) for r in b]}"
        )
    first: list[Sample] = []
    second: list[Sample] = []
    for key, run in mine.items():
        other = others[key]
        shared = np.intersect1d(run.indices, other.indices)
        for side, samples in ((run, first), (other, second)):
            keep = np.isin(side.indices, shared)
            samples.append(of_run(side, absent=absent, resamples=resamples, seed=seed, keep=keep)[0])
    return difference(mean_sample(first), mean_sample(second))


def difference(a: Sample, b: Sample) -> Difference:
    """A minus B from replicates that share their draws.

    The p value inverts the percentile interval and counts the observed figure as one resample, so
    it is never 0.
    """
    value = a.value - b.value
    if len(a.replicates) != len(b.replicates) or not len(a.replicates):
        return Difference(value, float("nan"), float("nan"), float("nan"))
    gaps = a.replicates - b.replicates
    tail = min(int((gaps <= 0).sum()), int((gaps >= 0).sum()))
    return Difference(value, *_percentiles(gaps), p=min(1.0, 2 * (tail + 1) / (len(gaps) + 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the given order; nan stays nan and counts for no test.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    out = [float("nan")] * len(p_values)
    tests = sorted((p, i) for i, p in enumerate(p_values) if not np.isnan(p))
    largest = 0.0
    for rank, (p, i) in enumerate(tests):
        largest = max(largest, min(1.0, (len(tests) - rank) * p))
        out[i] = largest
    return out


def _generator(seed: int, stream: str) -> np.random.Generator:
    name = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8]) if stream else 0
    return np.random.Generator(np.random.Philox(key=(name << 64) | (seed & (2**64 - 1))))


def _by_cluster(groups: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum (n, 4) counts within clusters: one row each, in the order of the cluster ids."""
    names, rows = np.unique(groups, return_inverse=True)
    sums = np.zeros((len(names), counts.shape[1]), dtype=np.int64)
    np.add.at(sums, rows, counts)
    return sums.astype(np.float64)  # exact: pixels of a whole fold stay far below 2**53


def _resampled(stratum: NDArray[np.float64], resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Sums (resamples, 4) of a class over resamples of its clusters, as many as it has."""
    n = len(stratum)
    if n == 0:
        return np.zeros((resamples, 4))
    block = max(1, _BLOCK // n)
    sums = []
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        draws = rng.integers(0, n, size=(rows, n)) + np.arange(rows)[:, None] * n
        weights = np.bincount(draws.ravel(), minlength=rows * n).reshape(rows, n)
        sums.append(weights.astype(np.float64) @ stratum)
    return np.concatenate(sums)


def _miou(inter: NDArray[np.float64], union: NDArray[np.float64], absent: Absent) -> NDArray[np.float64]:
    """Mean over classes of (classes, resamples) ratios of sums, in percent."""
    ious = inter / np.maximum(union, 1) * 100
    if absent == "zero":
        return np.asarray(ious.mean(axis=0))
    present = union > 0
    found = present.sum(axis=0)
    return np.where(found > 0, (ious * present).sum(axis=0) / np.maximum(found, 1), np.nan)


def _fb_iou(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of background and foreground IoU of (resamples, 4) sums, in percent."""
    return np.asarray((sums[:, :2] / np.maximum(sums[:, 2:], 1)).mean(axis=1) * 100)


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    found = values[~np.isnan(values)]
    if not len(found):
        return float("nan"), float("nan")
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
