"""Comparison of methods: pairs on the same episodes, wins, ranks over benchmarks, spread over seeds.

The functions read the table model.  Both sides of a difference are resampled with the same draws.
`fssbench.analysis.matching` decides which cells can be compared, and `list_refusals` lists those that cannot.

"Significantly better" has one meaning in the whole product: the p of a pair, adjusted by Holm's
method over its family, is at most 5 %.  The family of a pair is every pair that can be compared on
its benchmark and shot in the given results, even if only a part of them is shown.  A pair with too few
queries (see `fssbench.evidence`) has no p, no verdict, and no place in its family.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

import numpy as np

from fssbench.analysis.matching import (
    Match,
    Refusal,
    differs,
    group_columns,
    match_cells,
    match_common_episodes,
    select_cells,
)
from fssbench.analysis.paired import compare_ahead, compute_pair_figures, compute_row_errors
from fssbench.analysis.parallel import map_in_threads
from fssbench.analysis.ranks import average_ranks, compute_critical_difference, group_ranks, run_friedman_test
from fssbench.analysis.row_keys import COLUMN, column_key, first_run, method_key
from fssbench.analysis.row_names import name_methods, name_rows, with_names
from fssbench.analysis.statistics import Difference, adjust_by_holm
from fssbench.contracts.resamples import PAIR_RESAMPLES, RESAMPLES
from fssbench.contracts.results import Cell, Results
from fssbench.errors import UsageError
from fssbench.evidence import TOO_FEW, collect_evidence, distinct_episodes
from fssbench.forks import MANY_RUNS

LEVEL = 0.05
"""Error rate of the verdicts of a family."""
_FOR_HOLM = 80
"""Fewest resamples per pair of the family, so that the smallest p can stay below 5 % after its adjustment."""


class Outcome(StrEnum):
    """The outcome of a comparison of A with B, from A's side."""

    WIN = "win"
    TIE = "tie"
    LOSS = "loss"
    TOO_FEW_QUERIES = TOO_FEW


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
    """Names of A and B, unique in their column."""
    figures: tuple[float, float]
    """mIoU of A and B on the episodes compared."""
    difference: Difference
    """A minus B in mIoU points."""
    adjusted: float
    """Holm's p over the family; nan if there are too few queries."""
    outcome: Outcome
    """From A's side, by the adjusted p at 5 %."""
    episodes: int
    """Distinct episodes that both have counted; folds on the same plan share theirs."""
    queries: int
    """Distinct queries among them; a query counts once per class."""
    folds: int
    """Folds compared."""
    plans: int
    """Distinct plans among them."""
    family: int
    """Number of pairs for which the p is adjusted: those of this benchmark and shot with enough queries."""
    resamples: int
    """Resamples behind the p and the interval."""
    note: str = ""
    """How it differs from a comparison of whole cells."""


@dataclass(frozen=True)
class Tally:
    """How often one method beat another."""

    methods: tuple[str, str]
    wins: int
    """Of the first over the second."""
    ties: int
    losses: int
    undecided: int = 0
    """Pairs with too few queries for a verdict."""


@dataclass(frozen=True)
class Ranking:
    """Mean ranks over benchmarks; if there are none, `reason` tells why."""

    methods: tuple[str, ...]
    """Best rank first."""
    ranks: tuple[float, ...]
    """Mean rank of each, 1 being the best."""
    blocks: tuple[tuple[str, int], ...]
    """Benchmarks and shots on which all these methods were measured on the same episodes."""
    friedman: float
    """p value of no difference between the methods."""
    critical: float
    """Nemenyi's critical difference at 5 %: ranks that differ by less are not distinguished."""
    groups: tuple[tuple[str, ...], ...]
    """Largest sets of methods that are not distinguished; sets of one are left out."""
    reason: str = ""


@dataclass(frozen=True)
class SeedSpread:
    """One method in one column under several seeds: spread between seeds, and error within a seed."""

    benchmark: str
    shot: int
    protocol: str
    method: str
    kind: Literal["episodes", "training", "both"]
    """Source of the difference: the seed of the episodes, the weights (the seed of the training), or both."""
    cells: tuple[Cell, ...]
    mean: float
    """Mean mIoU over the seeds."""
    between: float
    """Standard deviation of mIoU between the seeds, in points."""
    within: float
    """Standard error of one seed's mIoU from its episodes (bootstrap), root mean square over seeds."""


def compute_differences(
    couples: Sequence[tuple[Cell, Cell]], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Difference]:
    """Compute A minus B in mIoU points on the episodes that both have counted, for cells that can be paired.

    Each run is resampled once, even if it is in several couples.

    Raises:
        UsageError: if two cells cannot be paired (see `differs`).
    """
    for a, b in couples:
        apart = column_key(first_run(a)) != column_key(first_run(b))
        if reason := "they are in different columns" if apart else differs(a, b):
            raise UsageError(f"{a.label} and {b.label} on {a.benchmark} cannot be paired: {reason}")
    compared = compute_pair_figures(
        [match_common_episodes(a, b).runs for a, b in couples], resamples=resamples, seed=seed
    )
    return [pair.difference for pair in compared]


def compare_pairs(
    results: Results,
    *,
    resamples: int | None = None,
    seed: int | None = None,
    shared: bool = False,
    methods: Sequence[str] | None = None,
) -> tuple[Pair, ...]:
    """Compare every two methods that can be compared, benchmark by benchmark.

    Args:
        results: what was collected.
        resamples: bootstrap resamples; by default `PAIR_RESAMPLES`, or more if the family or the results need more.
        seed: seed of the bootstrap; that of the results if None.
        shared: whether cells with different episodes are compared on the episodes that they share.
        methods: names (see `name_methods`) whose pairs are returned, A before B in this order; all by default.  The
            family always contains all methods of the results.

    Raises:
        UsageError: if no result has one of the names.
    """
    matched = [
        m for m in match_cells(results, shared, _order_all_names(results, methods)) if isinstance(m, Match)
    ]
    families: dict[tuple[str, int], list[Match]] = defaultdict(list)
    for match in matched:
        families[match.a.benchmark, match.a.shot].append(match)
    chosen_seed = _choose_seed(results, seed)

    def choose_number(family: list[Match]) -> int:
        return resamples or max(PAIR_RESAMPLES, results.resamples, _FOR_HOLM * len(family))

    def compare_family(family: list[Match]) -> list[Pair]:
        return list(_compare_family(family, choose_number(family), chosen_seed))

    compared: dict[int, Pair] = {}
    listed = sorted(families.values(), key=_estimate_work, reverse=True)  # the last to end is a short one
    if len(results.runs) >= MANY_RUNS:
        compare_ahead(
            [([match.runs for match in family], choose_number(family)) for family in listed], seed=chosen_seed
        )
    for family, pairs in zip(listed, map_in_threads(compare_family, listed), strict=True):
        compared |= zip(map(id, family), pairs, strict=True)
    names = dict(zip(map(id, results.cells), _list_names(results), strict=True))
    wanted = set(names.values() if methods is None else methods)
    return tuple(compared[id(m)] for m in matched if {names[id(m.a)], names[id(m.b)]} <= wanted)


def verdicts(results: Results) -> dict[tuple[int, int], Pair]:
    """Compare every two cells of one column.

    Returns:
        The pairs by the ids of their two cells, in both orders: under (id(A), id(B)) the pair from the
        side of A.
    """
    compared: dict[tuple[int, int], Pair] = {}
    for pair in compare_pairs(results):
        compared[id(pair.a), id(pair.b)] = pair
        compared[id(pair.b), id(pair.a)] = turn_pair(pair)
    return compared


def turn_pair(pair: Pair) -> Pair:
    """Return the same pair from the side of B."""
    gap = pair.difference
    opposite = {Outcome.WIN: Outcome.LOSS, Outcome.LOSS: Outcome.WIN}
    return replace(
        pair,
        a=pair.b,
        b=pair.a,
        methods=(pair.methods[1], pair.methods[0]),
        figures=(pair.figures[1], pair.figures[0]),
        difference=replace(gap, value=-gap.value, low=-gap.high, high=-gap.low),
        outcome=opposite.get(pair.outcome, pair.outcome),
    )


def _order_all_names(results: Results, methods: Sequence[str] | None) -> list[str] | None:
    """List all names, the given ones first, in their order.

    Raises:
        UsageError: if no result has one of the names.
    """
    if methods is None:
        return None
    select_cells(results, methods)  # refuses unknown names
    rest = sorted(set(_list_names(results)) - set(methods))
    return [*dict.fromkeys(methods), *rest]


def _list_names(results: Results) -> list[str]:
    return [cell.name for cell in with_names(results).cells]


def _compare_family(family: Sequence[Match], resamples: int, seed: int) -> Iterator[Pair]:
    """Compare the pairs of one benchmark and shot, and adjust their p over all of them."""
    pairs = compute_pair_figures([m.runs for m in family], resamples=resamples, seed=seed)
    gaps = [pair.difference for pair in pairs]
    adjusted = adjust_by_holm([gap.p for gap in gaps])
    tests = sum(not math.isnan(gap.p) for gap in gaps)
    for m, pair, p in zip(family, pairs, adjusted, strict=True):
        runs = [run for run, _ in m.runs]
        yield Pair(
            benchmark=m.a.benchmark,
            shot=m.a.shot,
            seed=m.a.seed,
            protocol=m.a.protocol,
            a=m.a,
            b=m.b,
            methods=m.methods,
            figures=pair.figures,
            difference=pair.difference,
            adjusted=p,
            outcome=_judge_outcome(pair.difference, p),
            episodes=distinct_episodes(runs),
            queries=pair.queries,
            folds=len(runs),
            plans=len({run.plan_sha256 for run in runs}),
            family=tests,
            resamples=resamples,
            note=m.note,
        )


def _estimate_work(family: Sequence[Match]) -> int:
    """Estimate how long the comparison of a family takes: the draws of its couples and episodes."""
    return len(family) * max(sum(run.episodes for run, _ in match.runs) for match in family)


def _judge_outcome(gap: Difference, adjusted: float) -> Outcome:
    if math.isnan(adjusted):
        return Outcome.TOO_FEW_QUERIES
    if adjusted > LEVEL:
        return Outcome.TIE
    return Outcome.WIN if gap.value > 0 else Outcome.LOSS


def list_refusals(results: Results, *, shared: bool = False) -> tuple[Refusal, ...]:
    """List the pairs of methods on one benchmark and shot that `compare_pairs` does not compare, with the reasons."""
    return tuple(m for m in match_cells(results, shared, None) if isinstance(m, Refusal))


def count_outcomes(compared: Iterable[Pair]) -> tuple[Tally, ...]:
    """Count wins, ties and losses of each two methods over all their pairs, in order of appearance."""
    listed = list(compared)
    cells = {id(cell): cell for pair in listed for cell in (pair.a, pair.b)}
    named = cells.values() if all(cell.name for cell in cells.values()) else name_rows(cells.values())
    names = {key: cell.name for key, cell in zip(cells, named, strict=True)}
    counts: dict[tuple[str, str], Counter[str]] = {}
    for pair in listed:
        a, b = (names[id(cell)] for cell in (pair.a, pair.b))
        if a == b:
            continue  # two rows of one method
        if (b, a) in counts:
            counts[b, a][turn_pair(pair).outcome] += 1
        else:
            counts.setdefault((a, b), Counter())[pair.outcome] += 1
    return tuple(
        Tally(key, c[Outcome.WIN], c[Outcome.TIE], c[Outcome.LOSS], c[Outcome.TOO_FEW_QUERIES])
        for key, c in counts.items()
    )


def rank_methods(results: Results) -> Ranking:
    """Rank methods over the benchmarks and shots on which all of them were measured on the same episodes.

    A block is a benchmark and shot with enough queries for a verdict; a method's figure there is the
    mean over the columns (seeds, protocols) that all the methods share.  Shots of one benchmark are
    not independent: the critical difference is then a little too small.

    Args:
        results: what was collected.
    """
    cells, names = select_cells(results, None)
    wanted = list(dict.fromkeys(names))
    blocks: dict[tuple[str, int], list[list[float]]] = defaultdict(list)
    for column in group_columns(cells).values():
        held: dict[str, list[Cell]] = defaultdict(list)
        for i in column:
            held[names[i]].append(cells[i])
        alike = all(not differs(cells[column[0]], cells[i]) for i in column[1:])
        alike = alike and all(len(rows) == 1 for rows in held.values())  # never a mean of two measurements
        alike = alike and all(collect_evidence(cells[i].folds.values()).enough for i in column)
        figures = [float(np.mean([c.miou.value for c in held[name]])) for name in wanted if name in held]
        if len(figures) == len(wanted) and alike and not any(map(math.isnan, figures)):
            blocks[cells[column[0]].benchmark, cells[column[0]].shot].append(figures)
    reason = ""
    if len(wanted) < 3:
        reason = f"a ranking needs three methods or more; there {'is' if len(wanted) == 1 else 'are'} {len(wanted)}"
    elif len(blocks) < 2:
        reason = (
            f"a ranking needs two benchmarks or shots on which all {len(wanted)} methods were measured on the "
            f"same episodes, with enough queries; there {'is' if len(blocks) == 1 else 'are'} {len(blocks)}"
        )
    if reason:
        return Ranking(tuple(wanted), (), tuple(blocks), math.nan, math.nan, (), reason)
    table = np.array([np.mean(columns, axis=0) for columns in blocks.values()])
    ranks = average_ranks(table)
    order = sorted(range(len(wanted)), key=lambda i: (ranks[i], wanted[i]))
    critical = compute_critical_difference(len(wanted), len(blocks), level=LEVEL)
    return Ranking(
        methods=tuple(wanted[i] for i in order),
        ranks=tuple(float(ranks[i]) for i in order),
        blocks=tuple(blocks),
        friedman=run_friedman_test(table),
        critical=critical,
        groups=tuple(tuple(wanted[i] for i in group) for group in group_ranks(ranks.tolist(), critical)),
    )


def estimate_seed_spread(
    results: Results, *, resamples: int | None = None, seed: int | None = None
) -> tuple[SeedSpread, ...]:
    """Estimate the spread between seeds, for methods that were measured more than once in a column.

    Cells belong together if their identities agree in all but the seed of the episodes and the weights of the
    method.  Two trainings of one recipe differ in their weights alone; only their checkpoints can tell whether
    they differ by seed or by data.
    """
    methods = name_methods(results.cells)
    named = [(methods[method_key(first_run(cell))], n, cell) for n, cell in enumerate(results.cells)]
    names, _, cells = zip(*sorted(named, key=lambda each: each[:2]), strict=True) if named else ((), (), ())
    alike: dict[object, list[int]] = defaultdict(list)
    for i, cell in enumerate(cells):
        alike[_key_without_seed(cell)].append(i)
    groups: list[tuple[Literal["episodes", "training", "both"], list[int]]] = []
    for members in alike.values():
        by_weights: dict[object, dict[object, int]] = defaultdict(dict)
        by_plans: dict[object, dict[object, int]] = defaultdict(dict)
        for i in members:
            weights, plans = _list_weights(cells[i]), _list_plans(cells[i])
            by_weights[weights].setdefault(cells[i].seed, i)
            by_plans[plans].setdefault(weights, i)
        groups += [("episodes", list(group.values())) for group in by_weights.values() if len(group) > 1]
        groups += [("training", list(group.values())) for group in by_plans.values() if len(group) > 1]
        if len(by_weights) == len(by_plans) == len(members) > 1:
            groups.append(("both", members))
    used = sorted({i for _, group in groups for i in group})
    number = resamples or max(PAIR_RESAMPLES, results.resamples)
    errors = compute_row_errors(
        [cells[i].folds.values() for i in used], resamples=number, seed=_choose_seed(results, seed)
    )
    spreads = dict(zip(used, errors, strict=True))
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
        for kind, group in groups
    )


def _choose_seed(results: Results, seed: int | None) -> int:
    return results.bootstrap_seed if seed is None else seed


def _key_without_seed(cell: Cell) -> str:
    """Key of all that can change the cell's figure, except the seed of the episodes and the method's weights."""
    run = first_run(cell)
    drawn = {"seed", "episodes_sha256", "data_sha256", "head_sha256"}
    block = {k: v for k, v in sorted(run.manifest.block.as_stored().items()) if k not in drawn}
    column = [part for name, part in zip(COLUMN, column_key(run), strict=True) if name != "seed"]
    return str((method_key(run), column, sorted(cell.folds), block))


def _list_weights(cell: Cell) -> tuple[str, ...]:
    return tuple(cell.folds[fold].manifest.block.head_sha256 for fold in sorted(cell.folds))


def _list_plans(cell: Cell) -> tuple[str, ...]:
    return tuple(cell.folds[fold].plan_sha256 for fold in sorted(cell.folds))
