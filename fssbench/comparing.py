"""Which method beats which: pairs on the same episodes, wins, ranks over benchmarks, seeds.

Everything here reads the table model.  Differences are resampled with the same draws on both sides;
`fssbench.matching` says which cells can be compared, and `refusals` names those that cannot.

The Holm adjustment runs over all pairs that are asked for together.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from fssbench.api.results import Cell, Results, RunResult
from fssbench.errors import UsageError
from fssbench.matching import (
    Match,
    Refusal,
    chosen,
    columns,
    differs,
    matches,
    whole,
)
from fssbench.ranks import critical_difference, friedman, groups, mean_ranks
from fssbench.row_keys import COLUMN, block_of, column_key, first_run, method_key
from fssbench.row_names import method_names, name_rows
from fssbench.statistics import Difference, Sample, difference, holm, mean_sample, of_runs

LEVEL = 0.05
"""Error rate of every verdict."""


@dataclass(frozen=True)
class Pair:
    """Two methods on one benchmark and shot."""

    benchmark: str
    shot: int
    seed: int
    protocol: str
    a: Cell
    b: Cell
    methods: tuple[str, str]
    """Names of A and B, no two alike in their column."""
    figures: tuple[float, float]
    """mIoU of A and B on the episodes compared."""
    difference: Difference
    """A minus B in mIoU points."""
    adjusted: float
    """Holm's p over all pairs given."""
    outcome: Literal["win", "tie", "loss"]
    """From A's side, by the adjusted p at 5 %."""
    episodes: int
    """Episodes that both have counted."""
    queries: int
    """Distinct queries among them, of each class and fold its own, folds on the same episodes included."""
    folds: int
    """Folds compared."""
    note: str = ""
    """How it departs from a comparison of whole cells."""


@dataclass(frozen=True)
class Tally:
    """How often one method beat another."""

    methods: tuple[str, str]
    wins: int
    """Of the first over the second."""
    ties: int
    losses: int


@dataclass(frozen=True)
class Ranking:
    """Mean ranks over benchmarks; without any where `reason` says why."""

    methods: tuple[str, ...]
    """Best rank first."""
    ranks: tuple[float, ...]
    """Mean rank of each, 1 being the best."""
    blocks: tuple[tuple[str, int], ...]
    """Benchmark and shot where all these methods were measured on the same episodes."""
    friedman: float
    """p value of no difference between the methods."""
    critical: float
    """Nemenyi's critical difference at 5 %: ranks that differ by less are not told apart."""
    groups: tuple[tuple[str, ...], ...]
    """Largest sets of methods that are not told apart; sets of one are left out."""
    reason: str = ""


@dataclass(frozen=True)
class SeedSpread:
    """One method in one column under several seeds: what they move beside what episodes move."""

    benchmark: str
    shot: int
    protocol: str
    method: str
    kind: Literal["episodes", "training", "both"]
    """What differs: the episodes' seed, the method's weights (its training's seed), or both at once."""
    cells: tuple[Cell, ...]
    mean: float
    """Mean mIoU over the seeds."""
    between: float
    """Standard deviation of mIoU between the seeds, in points."""
    within: float
    """Standard error of one seed's mIoU from its episodes (bootstrap), root mean square over seeds."""


def differences(
    couples: Sequence[tuple[Cell, Cell]], *, resamples: int = 1000, seed: int = 0
) -> list[Difference]:
    """A minus B in mIoU points on the episodes both have counted, for cells that can be paired.

    Each run is resampled once, however many couples it is in.

    Raises:
        UsageError: where two cells cannot be paired (see `differs`).
    """
    for a, b in couples:
        apart = column_key(first_run(a)) != column_key(first_run(b))
        if reason := "they stand in different columns" if apart else differs(a, b):
            raise UsageError(f"{a.label} and {b.label} on {a.benchmark} cannot be paired: {reason}")
    return [difference(x, y) for x, y in _sides([whole(a, b) for a, b in couples], resamples, seed)]


def pairs(
    results: Results,
    *,
    resamples: int | None = None,
    seed: int | None = None,
    shared: bool = False,
    methods: Sequence[str] | None = None,
) -> tuple[Pair, ...]:
    """Every pair of methods that can be compared, benchmark by benchmark.

    Args:
        results: what was collected.
        resamples: bootstrap resamples; those of the results if None.
        seed: seed of the bootstrap; that of the results if None.
        shared: compare cells whose episodes differ on those they share.
        methods: names (see `method_names`) to compare, in the order in which A comes before B; all if
            None.

    Raises:
        UsageError: for a name that none of the results has.
    """
    found = [m for m in matches(results, shared, methods) if isinstance(m, Match)]
    counted = {id(run): run for m in found for run, _ in m.runs}.values()
    sides = _sides(found, *_bootstrap(results, resamples, seed))
    asked = {id(run): _asked(run) for run in counted}
    queries = [sum(len(asked[id(run)]) for run, _ in m.runs) for m in found]
    drawn = [len(set().union(*(asked[id(run)] for run, _ in m.runs))) for m in found]
    gaps = [
        replace(gap, p=max(gap.p, _least_p(n)))
        for gap, n in zip((difference(x, y) for x, y in sides), drawn, strict=True)
    ]
    adjusted = holm([gap.p for gap in gaps])
    return tuple(
        Pair(
            benchmark=m.a.benchmark,
            shot=m.a.shot,
            seed=m.a.seed,
            protocol=m.a.protocol,
            a=m.a,
            b=m.b,
            methods=m.methods,
            figures=(x.value, y.value),
            difference=gap,
            adjusted=p,
            outcome="tie" if not p <= LEVEL else "win" if gap.value > 0 else "loss",
            episodes=sum(run.episodes for run, _ in m.runs),
            queries=n,
            folds=len(m.runs),
            note=m.note,
        )
        for m, (x, y), gap, p, n in zip(found, sides, gaps, adjusted, queries, strict=True)
    )


def _asked(run: RunResult) -> set[tuple[str, int, str]]:
    """What is resampled of a run: its queries by class, the same in another fold on the same plan."""
    return {(run.plan_sha256, *asked) for asked in zip(run.class_ids.tolist(), run.queries, strict=True)}


def _least_p(queries: int) -> float:
    """Least p that a two-sided paired test can give on so few queries: all signs alike, 2^(1 - n).

    A bootstrap of two queries that agree never meets zero, and would call that certain.
    """
    return float(min(1.0, 2.0 ** (1 - queries)))


def refusals(
    results: Results, *, shared: bool = False, methods: Sequence[str] | None = None
) -> tuple[Refusal, ...]:
    """Pairs of methods that were measured on one benchmark and shot and that `pairs` does not compare."""
    return tuple(m for m in matches(results, shared, methods) if isinstance(m, Refusal))


def tally(found: Iterable[Pair]) -> tuple[Tally, ...]:
    """Wins, ties and losses of each two methods over all their pairs, in order of appearance."""
    listed = list(found)
    cells = {id(cell): cell for pair in listed for cell in (pair.a, pair.b)}
    named = cells.values() if all(cell.name for cell in cells.values()) else name_rows(cells.values())
    names = {key: cell.name for key, cell in zip(cells, named, strict=True)}
    counts: dict[tuple[str, str], Counter[str]] = {}
    opposite = {"win": "loss", "tie": "tie", "loss": "win"}
    for pair in listed:
        a, b = (names[id(cell)] for cell in (pair.a, pair.b))
        if a == b:
            continue  # two rows of one method
        if (b, a) in counts:
            counts[b, a][opposite[pair.outcome]] += 1
        else:
            counts.setdefault((a, b), Counter())[pair.outcome] += 1
    return tuple(Tally(key, c["win"], c["tie"], c["loss"]) for key, c in counts.items())


def ranking(results: Results, *, methods: Sequence[str] | None = None) -> Ranking:
    """Rank methods over the benchmarks and shots on which all of them were measured alike.

    A block is a benchmark and shot; a method's figure there is the mean over the columns (seeds,
    protocols) that all the methods share.  Shots of one benchmark are not independent: the critical
    difference is then a little too small.

    Args:
        results: what was collected.
        methods: names to rank (see `method_names`); all if None.

    Raises:
        UsageError: for a name that none of the results has.
    """
    cells, names = chosen(results, methods)
    wanted = list(dict.fromkeys(names))
    blocks: dict[tuple[str, int], list[list[float]]] = defaultdict(list)
    for column in columns(cells).values():
        held: dict[str, list[Cell]] = defaultdict(list)
        for i in column:
            held[names[i]].append(cells[i])
        alike = all(not differs(cells[column[0]], cells[i]) for i in column[1:])
        alike = alike and all(len(rows) == 1 for rows in held.values())  # never a mean of two measurements
        figures = [float(np.mean([c.miou.value for c in held[name]])) for name in wanted if name in held]
        if len(figures) == len(wanted) and alike and not any(map(math.isnan, figures)):
            blocks[cells[column[0]].benchmark, cells[column[0]].shot].append(figures)
    reason = ""
    if len(wanted) < 3:
        reason = f"a ranking needs three methods or more; there {'is' if len(wanted) == 1 else 'are'} {len(wanted)}"
    elif len(blocks) < 2:
        reason = (
            f"a ranking needs two benchmarks or shots on which all {len(wanted)} methods were measured on the "
            f"same episodes; there {'is' if len(blocks) == 1 else 'are'} {len(blocks)}"
        )
    if reason:
        return Ranking(tuple(wanted), (), tuple(blocks), math.nan, math.nan, (), reason)
    table = np.array([np.mean(columns, axis=0) for columns in blocks.values()])
    ranks = mean_ranks(table)
    order = sorted(range(len(wanted)), key=lambda i: (ranks[i], wanted[i]))
    critical = critical_difference(len(wanted), len(blocks), level=LEVEL)
    return Ranking(
        methods=tuple(wanted[i] for i in order),
        ranks=tuple(float(ranks[i]) for i in order),
        blocks=tuple(blocks),
        friedman=friedman(table),
        critical=critical,
        groups=tuple(tuple(wanted[i] for i in group) for group in groups(ranks.tolist(), critical)),
    )


def seed_spread(
    results: Results, *, resamples: int | None = None, seed: int | None = None
) -> tuple[SeedSpread, ...]:
    """What seeds move, apart from what episodes move: methods measured more than once in a column.

    Cells belong together where their identities agree in all but the episodes' seed and the weights
    of the method.  Two trainings of one recipe differ in weights alone; whether they differ by seed
    or by data, only their checkpoints can tell.
    """
    methods = method_names(results.cells)
    told = [(methods[method_key(first_run(cell))], n, cell) for n, cell in enumerate(results.cells)]
    names, _, cells = zip(*sorted(told, key=lambda each: each[:2]), strict=True) if told else ((), (), ())
    alike: dict[object, list[int]] = defaultdict(list)
    for i, cell in enumerate(cells):
        alike[_but_seeds(cell)].append(i)
    found: list[tuple[Literal["episodes", "training", "both"], list[int]]] = []
    for members in alike.values():
        by_weights: dict[object, dict[object, int]] = defaultdict(dict)
        by_plans: dict[object, dict[object, int]] = defaultdict(dict)
        for i in members:
            weights, plans = _weights(cells[i]), _plans(cells[i])
            by_weights[weights].setdefault(cells[i].seed, i)
            by_plans[plans].setdefault(weights, i)
        found += [("episodes", list(group.values())) for group in by_weights.values() if len(group) > 1]
        found += [("training", list(group.values())) for group in by_plans.values() if len(group) > 1]
        if len(by_weights) == len(by_plans) == len(members) > 1:
            found.append(("both", members))
    used = {i for _, group in found for i in group}
    runs = [run for i in used for run in cells[i].folds.values()]
    samples = _samples(runs, *_bootstrap(results, resamples, seed))
    spreads = {i: _error(_mean(cells[i].folds.values(), samples)) for i in used}
    return tuple(
        SeedSpread(
            benchmark=cells[group[0]].benchmark,
            shot=cells[group[0]].shot,
            protocol=cells[group[0]].protocol,
            method=names[group[0]],
            kind=kind,
            cells=tuple(cells[i] for i in group),
            mean=float(np.mean([cells[i].miou.value for i in group])),
            between=float(np.std([cells[i].miou.value for i in group], ddof=1)),
            within=float(np.sqrt(np.mean([spreads[i] ** 2 for i in group]))),
        )
        for kind, group in found
    )


def _bootstrap(results: Results, resamples: int | None, seed: int | None) -> tuple[int, int]:
    return (
        results.resamples if resamples is None else resamples,
        results.bootstrap_seed if seed is None else seed,
    )


def _sides(found: Sequence[Match], resamples: int, seed: int) -> list[tuple[Sample, Sample]]:
    """The mean over folds of A and of B, for each match; every run is resampled once."""
    samples = _samples((run for m in found for couple in m.runs for run in couple), resamples, seed)
    return [(_mean((a for a, _ in m.runs), samples), _mean((b for _, b in m.runs), samples)) for m in found]


def _samples(runs: Iterable[RunResult], resamples: int, seed: int) -> dict[Any, Sample]:
    """Each run's mIoU with its replicates, drawn once."""
    distinct = {_drawn_key(run): run for run in runs}
    found = of_runs(list(distinct.values()), resamples=resamples, seed=seed)
    return {key: miou for key, (miou, _) in zip(distinct, found, strict=True)}


def _mean(runs: Iterable[RunResult], samples: dict[Any, Sample]) -> Sample:
    return mean_sample([samples[_drawn_key(run)] for run in runs])


def _drawn_key(run: RunResult) -> tuple[Any, ...]:
    """What its replicates hang on; counts too, for a run of one identity may have been repeated."""
    counts = (array.tobytes() for array in (run.indices, run.inter, run.union))
    return (run.identity, run.plan_sha256, run.classes, run.absent_rule, *counts)


def _error(sample: Sample) -> float:
    """Standard error of a figure: the deviation of its replicates; nan where there are none."""
    return float(np.std(sample.replicates)) if len(sample.replicates) else math.nan


def _but_seeds(cell: Cell) -> str:
    """Everything that can move the cell's figure but the episodes' seed and the method's weights."""
    run = first_run(cell)
    drawn = {"seed", "episodes_sha256", "data_sha256", "head_sha256"}
    block = {k: v for k, v in sorted(block_of(run).items()) if k not in drawn}
    column = [part for name, part in zip(COLUMN, column_key(run), strict=True) if name != "seed"]
    return str((method_key(run), column, sorted(cell.folds), block))


def _weights(cell: Cell) -> tuple[str, ...]:
    return tuple(str(block_of(cell.folds[fold]).get("head_sha256")) for fold in sorted(cell.folds))


def _plans(cell: Cell) -> tuple[str, ...]:
    return tuple(cell.folds[fold].plan_sha256 for fold in sorted(cell.folds))
