"""Differences of two methods on the same episodes, with interval and p.  Each run is resampled once.

What was drawn lately is kept: marks, matrix, sentence and tables of one report ask for the same pairs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from fssbench.analysis.exchange import Folds, exchange_p
from fssbench.analysis.statistics import Difference, Sample, compute_difference, estimate_of_runs, mean_sample
from fssbench.contracts.results import RunResult

_Key = tuple[object, ...]
_MOST_SAMPLES, _MOST_P = 512, 100_000
_samples: dict[_Key, Sample] = {}
_p: dict[_Key, float] = {}


def compute_paired_differences(
    couples: Sequence[Folds], *, resamples: int, seed: int
) -> list[tuple[Sample, Sample, Difference]]:
    """Compare A with B, means over folds, for each couple.

    The p of a difference is the larger of the bootstrap's and of the exchange test's: the first is about
    the spread that other episodes would show, the second holds however unlike the queries are.

    Args:
        couples: what is compared; each with A's and B's run of each fold, on the same episodes.
        resamples: number of resamples, and of exchanges.
        seed: seed of the draws.

    Returns:
        A, B and A minus B of each couple, in mIoU.
    """
    runs = {id(run): run for folds in couples for both in folds for run in both}
    keys = {number: _bootstrap_cache_key(run, resamples, seed) for number, run in runs.items()}
    samples = _resample_runs(runs, keys, resamples, seed)
    means: dict[tuple[int, ...], Sample] = {}
    compared = []
    for folds in couples:
        rows = [tuple(id(both[side]) for both in folds) for side in (0, 1)]
        for row in rows:
            if row not in means:  # a method is in many couples
                means[row] = mean_sample([samples[number] for number in row])
        a, b = (means[row] for row in rows)
        compared.append((a, b, compute_difference(a, b)))
    tested = [n for n, (_, _, gap) in enumerate(compared) if not math.isnan(gap.p)]
    for n, p in zip(tested, _exchange_test([couples[n] for n in tested], keys, resamples, seed), strict=True):
        a, b, gap = compared[n]
        compared[n] = (a, b, replace(gap, p=max(gap.p, p)))
    return compared


def average_samples(rows: Sequence[Iterable[RunResult]], *, resamples: int, seed: int) -> list[Sample]:
    """Compute the mIoU of each row (the mean over its folds) with its bootstrap replicates."""
    listed = [list(row) for row in rows]
    runs = {id(run): run for row in listed for run in row}
    keys = {number: _bootstrap_cache_key(run, resamples, seed) for number, run in runs.items()}
    samples = _resample_runs(runs, keys, resamples, seed)
    return [mean_sample([samples[id(run)] for run in row]) for row in listed]


def _resample_runs(
    runs: dict[int, RunResult], keys: dict[int, _Key], resamples: int, seed: int
) -> dict[int, Sample]:
    """Resample each run: its mIoU with replicates, by the id of the run."""
    lacking = {keys[number]: run for number, run in runs.items() if keys[number] not in _samples}
    drawn = estimate_of_runs(list(lacking.values()), resamples=resamples, seed=seed) if lacking else []
    fresh = {key: miou for key, (miou, _) in zip(lacking, drawn, strict=True)}
    known = {key: _samples[key] for key in keys.values() if key in _samples} | fresh
    if len(_samples) + len(fresh) > _MOST_SAMPLES:
        _samples.clear()
    _samples.update(fresh)
    return {number: known[key] for number, key in keys.items()}


def _exchange_test(couples: Sequence[Folds], keys: dict[int, _Key], draws: int, seed: int) -> list[float]:
    """Compute the p of the exchange test for each couple."""
    wanted: list[_Key] = [tuple((keys[id(a)], keys[id(b)]) for a, b in folds) for folds in couples]
    lacking = {key: folds for key, folds in zip(wanted, couples, strict=True) if key not in _p}
    drawn = exchange_p(list(lacking.values()), draws=draws, seed=seed) if lacking else []
    fresh = dict(zip(lacking, drawn, strict=True))
    known = {key: _p[key] for key in wanted if key in _p} | fresh
    if len(_p) + len(fresh) > _MOST_P:
        _p.clear()
    _p.update(fresh)
    return [known[key] for key in wanted]


def _bootstrap_cache_key(run: RunResult, resamples: int, seed: int) -> _Key:
    """Key of the bootstrap cache.  It contains the counts because a run may be repeated under one identity."""
    facts = (run.identity, run.plan_sha256, run.classes, run.whole, run.absent_rule)
    arrays = (array.tobytes() for array in (run.class_ids, run.indices, run.inter, run.union))
    text = "\n".join([repr(facts), *map(str, run.queries)])
    return resamples, seed, hashlib.sha256(b"".join([text.encode(), *arrays])).digest()
