"""Uncertainty of a figure and of a difference of two methods: seeded bootstrap over episodes.

mIoU is a ratio of sums per class, so an interval comes from resampling episodes and summing again,
never from the spread of per-episode IoUs.  Episodes are resampled within their class (the number of
episodes per class is fixed by the protocol) and, where query ids are given, whole queries at a time
(a published list that is shorter than the run repeats its queries).

The draws depend on the seed, on `stream` and on the strata alone.  Runs of one plan that share a
stream therefore share every draw: their replicates subtract to a paired comparison, and average to
a correct mean where several fold models meet the same test episodes.  Plans with other episodes
have other streams, and independent draws.

Intervals are percentiles of these replicates after two corrections.  Their mean is moved to the
figure: a ratio of few sums is biased, and resamples are so once more.  Their deviation is stretched
to the jackknife's standard error (each query left out in turn, class by class), because resampling
n of n is short by sqrt((n - 1) / n) and by more where a few large objects carry a class.  What is
covered is the figure that other episodes, as many of the same protocol, would give on average.

Few queries show too little of the variation: the intervals would be too narrow and equal methods
would be told apart too often.  `fssbench.evidence` says how many are needed; below that a sample has
its figure and its replicates, but no interval, and a difference has neither interval nor p.

tests/analysis/test_calibration.py shows what this reaches; docs/statistics.md has the figures.  Plain
percentiles covered 80 to 95 % in such simulations, least with four queries a class.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from fssbench.analysis.parallel import map_in_threads
from fssbench.analysis.resampling import Draws, sum_resamples
from fssbench.contracts.resamples import RESAMPLES
from fssbench.contracts.results import Estimate, RunResult
from fssbench.errors import UsageError
from fssbench.evidence import NO_EVIDENCE, Evidence, collect_evidence
from fssbench.metrics import Absent, score_together, select_scored_classes

LEVEL = 0.95
"""Coverage of every interval."""
_SMALLEST_P = 1e-6
_MANY = 4096
"""Fewest numbers whose quantiles are found in their tails."""
_SAMPLE = 512
"""Numbers of a sample that says where the tails begin."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A figure in percent and its bootstrap replicates."""

    value: float
    """The figure itself, from `fssbench.metrics.score`."""
    replicates: NDArray[np.float64]
    """(resamples,) the figure on each resample; empty if there is nothing to resample."""
    evidence: Evidence = NO_EVIDENCE
    """The distinct queries behind the figure."""

    @property
    def estimate(self) -> Estimate:
        """The figure with its 95 % percentile interval; nan ends if there are too few queries."""
        shortage = "" if math.isnan(self.value) else self.evidence.shortage
        if shortage or not len(self.replicates):
            return Estimate(self.value, math.nan, math.nan, shortage)
        return Estimate(self.value, *_compute_percentiles(self.replicates))

    @property
    def error(self) -> float:
        """Standard error of the figure; nan if there are too few queries."""
        if not self.evidence.enough or np.isnan(self.replicates).all():
            return math.nan
        return float(np.nanstd(self.replicates))


@dataclass(frozen=True, slots=True)
class Difference:
    """A minus B on the same episodes, in percentage points."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided bootstrap p value of no difference; nan if there are too few queries."""
    error: float
    """Standard error of `value`."""
    shortage: str = ""
    """`too few queries (8; 1 in a class)` if there is no interval and no p for this reason; otherwise empty."""


def estimate_of_runs(
    runs: Sequence[RunResult], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[tuple[Sample, Sample]]:
    """Resample runs: mIoU and FB-IoU of each, clustered by query, in the stream of its plan.

    Draws depend on stream and strata alone, so runs that have counted the same episodes of a plan
    have the same ones: they are drawn once, and every run's counts are summed by one matrix product
    (of integers below 2**53, hence exact in any order).

    Args:
        runs: the runs; their counts, classes, queries, plan hashes and absent rules are read.
        resamples: number of resamples; with 0 there are figures alone.
        seed: seed of the draws.

    Returns:
        mIoU and FB-IoU of each run, in the given order.  With no episode the figures are nan.  If no class has
        two clusters nothing varies, and the replicates are empty.
    """
    return [(miou, fb_iou) for miou, fb_iou in _resample_runs(runs, resamples, seed, with_fb_iou=True)]


def estimate_miou_of_runs(runs: Sequence[RunResult], *, resamples: int, seed: int) -> list[Sample]:
    """Resample the mIoU of runs as `estimate_of_runs` does: the same draws and replicates in half of the time."""
    return [miou for miou, _ in _resample_runs(runs, resamples, seed, with_fb_iou=False)]


def _resample_runs(
    runs: Sequence[RunResult], resamples: int, seed: int, *, with_fb_iou: bool
) -> list[tuple[Sample, Sample]]:
    """Resample runs; without FB-IoU its samples have no replicates."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for i, run in enumerate(runs):
        episodes = (run.class_ids.tobytes(), run.queries)
        key = (run.plan_sha256, run.absent_rule, run.classes, run.whole, *episodes)
        alike.setdefault(key, []).append(i)

    def resample(group: list[int]) -> list[tuple[Sample, Sample]]:
        first = runs[group[0]]
        return _resample_together(
            first.class_ids,
            [np.hstack([runs[i].inter, runs[i].union]) for i in group],
            list(select_scored_classes(first.classes, first.class_ids, whole=first.whole)),
            np.unique(np.asarray(first.queries), return_inverse=True)[1],
            first.absent_rule,
            resamples,
            plan_generator(seed, first.plan_sha256),
            collect_evidence([first]),
            with_fb_iou=with_fb_iou,
        )

    drawn: dict[int, tuple[Sample, Sample]] = {}
    groups = list(alike.values())
    for group, samples in zip(groups, map_in_threads(resample, groups), strict=True):
        drawn |= zip(group, samples, strict=True)
    return [drawn[i] for i in range(len(runs))]


def mean_sample(samples: Sequence[Sample]) -> Sample:
    """Average over folds without weights: the figures, and their replicates draw by draw.

    A fold without replicates leaves the mean without them too.

    Raises:
        UsageError: for no samples, or samples of different length.
    """
    if not samples:
        raise UsageError("a mean over folds needs at least one fold")
    value = float(np.mean([s.value for s in samples]))
    evidence = reduce(Evidence.join, (s.evidence for s in samples))
    lengths = {len(s.replicates) for s in samples}
    if 0 in lengths:
        return Sample(value, np.empty(0), evidence)
    if len(lengths) > 1:
        raise UsageError(f"folds were resampled {sorted(lengths)} times; use one number")
    return Sample(value, np.mean([s.replicates for s in samples], axis=0), evidence)


def compute_difference(a: Sample, b: Sample) -> Difference:
    """Compute A minus B from replicates that share their draws.

    The p value inverts the percentile interval and counts the observed figure as one resample.
    Where no resample reaches 0 their number alone would set it, and an adjustment for many pairs
    could find nothing: the tail is then that of a normal distribution, trusted down to one in a
    million.  With too few queries on either side there is the difference alone.
    """
    value = a.value - b.value
    shortage = a.evidence.shortage or b.evidence.shortage
    if shortage or len(a.replicates) != len(b.replicates) or not len(a.replicates):
        return Difference(value, math.nan, math.nan, math.nan, math.nan, shortage)
    gaps = _drop_missing(a.replicates - b.replicates)
    if not len(gaps):
        return Difference(value, math.nan, math.nan, p=1.0, error=math.nan)
    tail = min(int(np.count_nonzero(gaps <= 0)), int(np.count_nonzero(gaps >= 0)))
    error = float(gaps.std())
    p = min(1.0, 2 * (tail + 1) / (len(gaps) + 1))
    if tail == 0 and error > 0:
        p = min(p, max(2 * NormalDist().cdf(-abs(value) / error), _SMALLEST_P))
    return Difference(value, *_compute_ends(gaps), p=p, error=error)


def adjust_by_holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p values, in the given order; nan stays nan and does not count as a test.

    Example:
        >>> adjust_by_holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    out = [float("nan")] * len(p_values)
    tests = sorted((p, i) for i, p in enumerate(p_values) if not np.isnan(p))
    largest = 0.0
    for rank, (p, i) in enumerate(tests):
        largest = max(largest, min(1.0, (len(tests) - rank) * p))
        out[i] = largest
    return out


def plan_generator(seed: int, stream: str) -> np.random.Generator:
    """Return the generator of a stream, such as a plan's sha256: equal seeds and streams draw the same."""
    name = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8]) if stream else 0
    return np.random.Generator(np.random.Philox(key=(name << 64) | (seed & (2**64 - 1))))


def _resample_together(
    ids: NDArray[np.int64],
    counts: Sequence[NDArray[np.int64]],
    classes: list[int],
    groups: NDArray[np.int64],
    absent: Absent,
    resamples: int,
    rng: np.random.Generator,
    evidence: Evidence,
    *,
    with_fb_iou: bool,
) -> list[tuple[Sample, Sample]]:
    """Resample runs of the same N episodes with the same draws.

    `counts` holds (N, 4) a run: intersections, then unions, background before foreground.
    """
    empty = np.empty(0)
    if not len(ids):
        return [(Sample(math.nan, empty, evidence), Sample(math.nan, empty, evidence)) for _ in counts]
    wide = np.hstack(counts)
    plain = score_together(ids, wide, classes, absent=absent)
    strata = [sum_by_cluster(groups[ids == c], wide[ids == c]) for c in classes] if resamples else []
    if all(len(stratum) < 2 for stratum in strata):
        return [(Sample(miou, empty, evidence), Sample(fb_iou, empty, evidence)) for miou, fb_iou in plain]
    errors = _compute_jackknife(strata, absent)
    runs = len(counts)
    total = np.zeros((4 * runs, resamples)) if with_fb_iou else None
    ious = np.zeros((runs, resamples))
    present = np.zeros((runs, resamples)) if absent == "exclude" else None
    draws = Draws(rng)
    for stratum in strata:  # summed class by class: all at once would be 1 GB with many classes
        columns = [stratum[:, k::4] for k in ((1, 3, 0, 2) if with_fb_iou else (1, 3))]
        for part, sums in sum_resamples(np.hstack(columns), resamples, draws):
            union = sums[runs : 2 * runs]
            if present is not None:
                present[:, part] += union > 0
            if total is not None:
                total[:, part] += sums
            share = np.divide(sums[:runs], np.maximum(union, 1), dtype=np.float64)
            share *= 100
            ious[:, part] += share
    if present is None:
        ious /= len(strata)
        miou = ious
    else:
        miou = np.where(present > 0, ious / np.maximum(present, 1), np.nan)
    fb_iou = np.zeros((runs, 0))
    if total is not None:
        inter, union, inter_b, union_b = np.split(total, 4)
        fb_iou = (inter_b / np.maximum(union_b, 1) + inter / np.maximum(union, 1)) / 2 * 100
    return [
        (
            Sample(figure, _rescale_replicates(figure, miou[i], error), evidence),
            Sample(fb_figure, _rescale_replicates(fb_figure, fb_iou[i], fb_error), evidence),
        )
        for i, ((figure, fb_figure), error, fb_error) in enumerate(zip(plain, *errors, strict=True))
    ]


def _rescale_replicates(value: float, replicates: NDArray[np.float64], error: float) -> NDArray[np.float64]:
    """Replicates moved so that their mean is the figure and their deviation its standard error."""
    numbers = _drop_missing(replicates)
    spread = float(numbers.std()) if len(numbers) else 0.0
    if not spread > 0:
        return replicates
    moved = value + (replicates - numbers.mean()) * (error / spread)
    return np.clip(moved, 0, 100)


def _compute_jackknife(strata: Sequence[NDArray[np.float64]], absent: Absent) -> NDArray[np.float64]:
    """Return the standard errors (2, runs) of mIoU and FB-IoU: each cluster left out in turn, class by class."""
    # (runs, 4, clusters): sums run along the last axis, whose order does not depend on the number of runs
    parts = [np.ascontiguousarray(s.T).reshape(s.shape[1] // 4, 4, len(s)) for s in strata]
    wholes = [p.sum(axis=2, keepdims=True) for p in parts]
    total = np.sum(wholes, axis=0)
    variance = np.zeros((2, len(total)))
    for part, whole in zip(parts, wholes, strict=True):
        n = part.shape[2]
        if n < 2:
            continue  # one cluster cannot tell how much it varies
        left = whole - part
        iou = left[:, 1] / np.maximum(left[:, 3], 1)
        if absent == "exclude":  # a class that only this cluster shows is taken as it is
            iou = np.where(left[:, 3] > 0, iou, whole[:, 1] / np.maximum(whole[:, 3], 1))
        pooled = total - whole + left * (n / (n - 1))  # the class keeps its weight
        sides = (pooled[:, :2] / np.maximum(pooled[:, 2:], 1)).mean(axis=1)
        for k, figures in enumerate((iou, sides)):
            gaps = figures - figures.mean(axis=1, keepdims=True)
            variance[k] += (gaps**2).sum(axis=1) * (n - 1) / n
    unions = np.stack([whole[:, 3, 0] for whole in wholes])
    variance[0] /= np.maximum((unions > 0).sum(axis=0) if absent == "exclude" else len(strata), 1) ** 2
    return np.asarray(np.sqrt(variance) * 100)


def sum_by_cluster(groups: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum (n, k) counts within clusters: one row per cluster, in the order of the cluster ids."""
    names, rows = np.unique(groups, return_inverse=True)
    sums = np.zeros((len(names), counts.shape[1]), dtype=np.int64)
    np.add.at(sums, rows, counts)
    return sums.astype(np.float64)  # exact: pixels of a whole fold stay far below 2**53


def _drop_missing(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values that are numbers; the array itself if all are."""
    if not len(values) or not math.isnan(values.min()):  # a minimum is nan if any value is
        return values
    return values[~np.isnan(values)]


def _compute_percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    numbers = _drop_missing(values)
    return _compute_ends(numbers) if len(numbers) else (math.nan, math.nan)


def _compute_ends(numbers: NDArray[np.float64]) -> tuple[float, float]:
    """Compute the ends of the interval of numbers, none of them nan."""
    return compute_quantile(numbers, (1 - LEVEL) / 2), compute_quantile(numbers, (1 + LEVEL) / 2)


def compute_quantile(numbers: NDArray[np.float64], share: float) -> float:
    """Compute what `np.quantile` does, to the digit; of many numbers only those of the tail are put in order.

    Args:
        numbers: (n), none of them nan.
        share: of the numbers that are below, 0 to 1.
    """
    n = len(numbers)
    if n < 2:
        return float(np.quantile(numbers, share))
    place = (n - 1) * share
    k = min(int(place), n - 2)
    tail, before = _select_tail(numbers, share) if n >= _MANY else (numbers, 0)
    if not 0 <= k - before < len(tail) - 1:  # the sample is unlike the numbers
        tail, before = numbers, 0
    low, high = np.partition(tail, (k - before, k - before + 1))[k - before : k - before + 2]
    part = place - k
    return float(low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part))


def _select_tail(numbers: NDArray[np.float64], share: float) -> tuple[NDArray[np.float64], int]:
    """Select the numbers of the tail that a sample of them says a quantile is in, and count those before it."""
    sample = np.sort(numbers[:: len(numbers) // _SAMPLE])
    middle = share * len(sample)
    margin = 4 * math.sqrt(middle * (1 - share)) + 2
    if share < 0.5:
        return numbers[numbers <= sample[min(int(middle + margin), len(sample) - 1)]], 0
    tail = numbers[numbers >= sample[max(int(middle - margin), 0)]]
    return tail, len(numbers) - len(tail)
