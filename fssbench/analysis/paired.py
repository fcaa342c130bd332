"""Differences of two methods on the same episodes, with interval and p.  Each run is resampled once.

What was computed lately is kept: marks, matrix, sentence and tables of one report ask for the same pairs.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fssbench.analysis.exchange import Folds, exchange_p
from fssbench.analysis.parallel import cores_shared, map_in_threads
from fssbench.analysis.statistics import (
    Difference,
    Sample,
    compute_difference,
    estimate_miou_of_runs,
    mean_sample,
)
from fssbench.contracts.results import RunResult
from fssbench.forks import Fork

_Key = tuple[object, ...]
_MOST_KEPT = 100_000
_pairs: dict[_Key, PairFigures] = {}
_errors: dict[_Key, float] = {}
"""Standard errors of the rows that pairs were made of."""
_HASH = "_hash_of_counts"
"""Attribute of a run that keeps the hash of its counts."""
_writing = threading.Lock()
"""Families of pairs are compared in threads."""


@dataclass(frozen=True, slots=True)
class PairFigures:
    """Two rows and their difference, in mIoU."""

    figures: tuple[float, float]
    """mIoU of A and B."""
    queries: int
    """Distinct queries behind each figure."""
    difference: Difference
    """A minus B."""


def compute_pair_figures(couples: Sequence[Folds], *, resamples: int, seed: int) -> list[PairFigures]:
    """Compare A with B as `compute_paired_differences` does; pairs that were compared before are not drawn again."""
    wanted = _make_keys(couples, resamples, seed)
    with _writing:
        known = {key: _pairs[key] for key in wanted if key in _pairs}
    lacking = {key: folds for key, folds in zip(wanted, couples, strict=True) if key not in known}
    compared = compute_paired_differences(list(lacking.values()), resamples=resamples, seed=seed)
    fresh = {
        key: PairFigures((a.value, b.value), a.evidence.queries, gap)
        for key, (a, b, gap) in zip(lacking, compared, strict=True)
    }
    errors = {
        row: sample
        for key, (a, b, _) in zip(lacking, compared, strict=True)
        for row, sample in zip(zip(*key, strict=True), (a, b), strict=True)
    }
    with _writing:
        if len(_pairs) + len(fresh) > _MOST_KEPT:
            _pairs.clear()
            _errors.clear()
        _pairs.update(fresh)
        _errors.update({row: sample.error for row, sample in errors.items()})
    known |= fresh
    return [known[key] for key in wanted]


def compare_ahead(families: Sequence[tuple[Sequence[Folds], int]], *, seed: int) -> None:
    """Compare the couples of families in two processes, so that `compute_pair_figures` has their figures.

    Threads share Python's lock, and half of a comparison holds it.  Without a second process nothing is done here.

    Args:
        families: couples of runs that are compared together, and their number of resamples; those with most work first.
        seed: seed of the draws.
    """

    def compare(some: Sequence[tuple[Sequence[Folds], int]]) -> None:
        for _ in map_in_threads(lambda one: compute_pair_figures(one[0], resamples=one[1], seed=seed), some):
            pass

    def compare_apart() -> tuple[dict[_Key, PairFigures], dict[_Key, float]]:
        before = _pairs.keys() | _errors.keys()
        compare(lacking[1::2])
        fresh = {key: pair for key, pair in _pairs.items() if key not in before}
        return fresh, {key: error for key, error in _errors.items() if key not in before}

    lacking = [one for one in families if not _pairs.keys() >= {*_make_keys(*one, seed)}]
    with cores_shared(2), Fork(compare_apart, wanted=len(lacking) > 1) as others:
        if others.begun:
            compare(lacking[::2])
            pairs, errors = others.result()
            with _writing:
                _pairs.update(pairs)
                _errors.update(errors)


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
    drawn = estimate_miou_of_runs(list(runs.values()), resamples=resamples, seed=seed)
    samples = dict(zip(runs, drawn, strict=True))
    means: dict[tuple[int, ...], Sample] = {}
    sides: list[tuple[Sample, Sample]] = []
    for folds in couples:
        rows = [tuple(id(both[side]) for both in folds) for side in (0, 1)]
        for row in rows:
            if row not in means:  # a method is in many couples
                means[row] = mean_sample([samples[number] for number in row])
        sides.append((means[rows[0]], means[rows[1]]))
    gaps = map_in_threads(lambda both: compute_difference(*both), sides)
    compared = [(a, b, gap) for (a, b), gap in zip(sides, gaps, strict=True)]
    tested = [n for n, (_, _, gap) in enumerate(compared) if not math.isnan(gap.p)]
    exchanged = exchange_p([couples[n] for n in tested], draws=resamples, seed=seed)
    for n, p in zip(tested, exchanged, strict=True):
        a, b, gap = compared[n]
        compared[n] = (a, b, replace(gap, p=max(gap.p, p)))
    return compared


def average_samples(rows: Sequence[Iterable[RunResult]], *, resamples: int, seed: int) -> list[Sample]:
    """Compute the mIoU of each row (the mean over its folds) with its bootstrap replicates."""
    listed = [list(row) for row in rows]
    runs = {id(run): run for row in listed for run in row}
    drawn = estimate_miou_of_runs(list(runs.values()), resamples=resamples, seed=seed)
    samples = dict(zip(runs, drawn, strict=True))
    return [mean_sample([samples[id(run)] for run in row]) for row in listed]


def compute_row_errors(rows: Sequence[Iterable[RunResult]], *, resamples: int, seed: int) -> list[float]:
    """Compute the standard error of each row's mIoU; rows of pairs that were compared before are not drawn again."""
    key_of = _KeyMaker(resamples, seed)
    listed = [list(row) for row in rows]
    wanted: list[_Key] = [tuple(map(key_of, row)) for row in listed]
    lacking = {key: row for key, row in zip(wanted, listed, strict=True) if key not in _errors}
    drawn = average_samples(list(lacking.values()), resamples=resamples, seed=seed)
    known = dict(zip(lacking, (sample.error for sample in drawn), strict=True))
    return [known[key] if key in known else _errors[key] for key in wanted]


def _make_keys(couples: Sequence[Folds], resamples: int, seed: int) -> list[_Key]:
    """Make the keys under which the figures of couples are kept."""
    key_of = _KeyMaker(resamples, seed)
    return [tuple((key_of(a), key_of(b)) for a, b in folds) for folds in couples]


class _KeyMaker:
    """Makes the keys of runs under which figures are kept, one hash per run.

    A key contains the counts because a run may be repeated under one identity.
    """

    def __init__(self, resamples: int, seed: int) -> None:
        self._draws = resamples, seed
        self._known: dict[int, tuple[RunResult, _Key]] = {}

    def __call__(self, run: RunResult) -> _Key:
        if id(run) not in self._known:
            key = (*self._draws, _hash_counts(run))
            self._known[id(run)] = run, key  # the run is kept, so that its id stays its own
        return self._known[id(run)][1]


def _hash_counts(run: RunResult) -> bytes:
    """Hash what figures of a run depend on; the hash is kept with the run."""
    kept: bytes | None = run.__dict__.get(_HASH)
    if kept is None:
        facts = (run.identity, run.plan_sha256, run.classes, run.whole, run.absent_rule)
        arrays = (array.tobytes() for array in (run.class_ids, run.indices, run.inter, run.union))
        text = "\n".join([repr(facts), *map(str, run.queries)])
        kept = run.__dict__[_HASH] = hashlib.sha256(b"".join([text.encode(), *arrays])).digest()
    return kept
