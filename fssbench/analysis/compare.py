"""Compares methods by their names: what `fssbench compare` does, and `fssbench.compare` from Python."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fssbench.analysis.collect import collect
from fssbench.analysis.comparisons import (
    Pair,
    Ranking,
    SeedSpread,
    Tally,
    compare_pairs,
    count_outcomes,
    estimate_seed_spread,
    list_refusals,
    rank_methods,
)
from fssbench.analysis.matching import LeftOut, Refusal, list_left_out
from fssbench.analysis.row_names import full_name, name_pair
from fssbench.contracts.arguments import check_arguments
from fssbench.contracts.results import Cell, Results
from fssbench.errors import DataError, UsageError, make_unknown_error
from fssbench.evidence import MORE_QUERIES, TOO_FEW, format_p
from fssbench.markup import format_interval, make_table
from fssbench.plural import describe_count, join_some
from fssbench.runs.equality import Equality, find_equal
from fssbench.runs.store import find_run_folders

if TYPE_CHECKING:
    from pandas import DataFrame

_NAMED = 10
"""Results that a message names."""


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Methods compared pairwise on the episodes that they share."""

    results: Results
    """The results of the methods asked for; the families of the verdicts contain all others too."""
    pairs: tuple[Pair, ...]
    tallies: tuple[Tally, ...]
    ranking: Ranking | None
    """Mean ranks over benchmarks; None without pairs."""
    spreads: tuple[SeedSpread, ...]
    """Spread between seeds, of the methods that have several."""
    refused: tuple[Refusal, ...]
    """Pairs that cannot be compared, with the reason."""
    equal: tuple[Equality, ...] = ()
    """Folders that hold the same measurement, if folders were compared."""
    left_out: tuple[LeftOut, ...] = ()
    """Results that are in no pair, with the reason."""

    @cached_property
    def table(self) -> DataFrame:
        """One row per pair: A minus B in mIoU points, its interval, p, verdict and marks."""
        from pandas import DataFrame

        return DataFrame([_make_row(pair) for pair in self.pairs], columns=list(_COLUMNS))

    def __repr__(self) -> str:
        return (
            f"<Comparison: {describe_count(len(self.pairs), 'pair')}, {len(self.refused)} that cannot be compared, "
            f"{describe_count(len(self.equal), 'equal folder')}; table: .table>"
        )

    def _repr_html_(self) -> str:
        """Show the pairs in a notebook, each with interval, verdict, episodes and marks."""
        columns = (
            "benchmark",
            "shot",
            "A",
            "B",
            "A - B",
            "interval",
            "Holm p",
            "A's",
            "episodes",
            "marks",
            "note",
        )
        rows = [
            (
                p.benchmark,
                p.shot,
                *name_pair(p),
                f"{p.difference.value:+.2f}",
                format_interval(p.difference.low, p.difference.high, p.difference.shortage),
                format_p(p.adjusted),
                p.difference.shortage or p.outcome,
                p.episodes,
                "; ".join(dict.fromkeys((*p.a.marks, *p.b.marks))),
                p.note,
            )
            for p in self.pairs
        ]
        notes = [explain_refusal(refusal) for refusal in self.refused] + [each.text for each in self.equal]
        notes += explain_left_out(self.left_out)
        if self.pairs:
            notes.append(
                "A win or loss means that A is significantly better or worse: Holm's p is at most 5 %"
            )
        if any(p.difference.shortage for p in self.pairs):
            notes.append(f"With {TOO_FEW} there is no interval and no verdict. {MORE_QUERIES}")
        return make_table(columns, rows, notes)


_COLUMNS = (
    *("benchmark", "shot", "seed", "protocol", "a", "b", "miou_a", "miou_b", "difference", "difference_low"),
    *(
        "difference_high",
        "p",
        "holm_p",
        "family",
        "outcome",
        "episodes",
        "queries",
        "no_interval",
        "marks",
        "note",
    ),
)
"""Columns of `Comparison.table`; an outcome is that of A."""


def _make_row(pair: Pair) -> tuple[Any, ...]:
    return (
        *(pair.benchmark, pair.shot, pair.seed, pair.protocol, *name_pair(pair), *pair.figures),
        *(pair.difference.value, pair.difference.low, pair.difference.high, pair.difference.p, pair.adjusted),
        *(pair.family, str(pair.outcome), pair.episodes, pair.queries, pair.difference.shortage),
        *("; ".join(dict.fromkeys((*pair.a.marks, *pair.b.marks))), pair.note),
    )


@check_arguments
def compare(
    *methods: str | Path,
    runs: str | Path | Sequence[str | Path] = (),
    shared: bool = False,
    resamples: int | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare methods pairwise on the episodes that they share, as `fssbench compare` does.

    Every difference is A minus B in mIoU points on the same episodes.  A verdict is by Holm's p at 5 %; the family is
    every pair of methods on the same benchmark and shot in the given folders.  With too few queries there is no
    verdict.

    Args:
        methods: names as in the report, or run folders; by default all methods that were run.
        runs: folders of runs, `runs` by default.
        shared: whether methods with different plans are compared on the episodes that they share.
        resamples: bootstrap resamples for p and interval; by default as a report.
        seed: seed of the bootstrap.

    Returns:
        The comparison; `.table` is a pandas table, and a notebook shows the pairs with their marks.  What cannot be
        compared is a warning and is in `.refused`, or in `.left_out` if the method is in other pairs.

    Raises:
        UsageError: for an unknown method, or if nothing can be compared.
        DataError: if there is no readable run.

    Example:
        >>> import fssbench
        >>> drawn = fssbench.plan("pascal-to-chestxray", data="mini", episodes=2, size=96)
        >>> for name in ("panet", "ssp"):
        ...     method = fssbench.load_method(name, plan=drawn, untrained=True)
        ...     _ = fssbench.evaluate(method, drawn, out="runs")
        >>> fssbench.compare("panet", "ssp", runs="runs").table["outcome"].tolist()
        ['too few queries']
    """
    folders = (Path(runs),) if isinstance(runs, str | Path) else tuple(map(Path, runs))
    comparison = compare_methods(
        tuple(map(str, methods)), folders, shared=shared, resamples=resamples, seed=seed, tell=_warn
    )
    for text in (*map(explain_refusal, comparison.refused), *explain_left_out(comparison.left_out)):
        warnings.warn(text, stacklevel=3)
    if comparison.refused and not comparison.pairs and not comparison.equal:
        raise UsageError(" ".join(map(explain_refusal, comparison.refused[:5])))
    return comparison


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=6)  # the line that called `compare`


def explain_refusal(refusal: Refusal) -> str:
    """Say which two methods cannot be compared, why, and what compares them."""
    where = f"{refusal.methods[0]} and {refusal.methods[1]} on {refusal.benchmark}, {refusal.shot}-shot"
    remedy = " Next: shared=True compares the episodes they share" if refusal.shareable else ""
    return f"{where} cannot be compared: {refusal.reason}.{remedy}"


def explain_left_out(left_out: Iterable[LeftOut]) -> list[str]:
    """Say which results are in no pair, why, and which option chooses; results of one name and reason share a line.

    Of many lines and places, the first ones are named and the others are counted.
    """
    places: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for each in left_out:
        key = (each.name, each.reason, each.options)
        places.setdefault(key, []).append(f"{each.cell.benchmark} {each.cell.shot}-shot")
    lines = [
        f"{name} on {join_some(where, _NAMED)} is in no pair: {reason}. Next: `fssbench run` of another method "
        + (f"with the same {' and '.join(options)}" if options else "there")
        for (name, reason, options), where in places.items()
    ]
    further = len(lines) - _NAMED
    more = [f"further rows in no pair: {further:,}. Next: `fssbench list runs`"] if further > 0 else []
    return lines[:_NAMED] + more


def compare_methods(
    methods: tuple[str, ...],
    runs: tuple[Path, ...],
    *,
    shared: bool,
    resamples: int | None,
    seed: int,
    tell: Callable[[str], None],
) -> Comparison:
    """Compare methods, or folders; see `compare`.

    Args:
        methods: names of methods, or run folders.
        runs: folders of runs.
        shared: whether methods with different plans are compared on the episodes that they share.
        resamples: bootstrap resamples; None for as many as a report has.
        seed: seed of the bootstrap.
        tell: called with what was left out and why.

    Raises:
        UsageError: for an unknown method, or if no two runs have the same benchmark and shot.
    """
    equal = _find_equal_folders(methods)
    if equal and len(equal) == len(methods) * (len(methods) - 1) // 2:
        return Comparison(Results((), (), 0, seed), (), (), None, (), (), equal)
    everything, names, cells = choose_cells(methods, runs, tell)
    everything = replace(everything, bootstrap_seed=seed)
    results = replace(everything, cells=cells)
    chosen_cells = {id(cell) for cell in cells}
    compared = compare_pairs(everything, shared=shared, methods=names, resamples=resamples)
    pairs = tuple(pair for pair in compared if id(pair.a) in chosen_cells and id(pair.b) in chosen_cells)
    refused = list_refusals(results, shared=shared)
    if not pairs and not refused and not equal:
        labels = names or sorted({cell.label for cell in results.cells})
        columns = sorted(
            f"{run.benchmark} {run.shot}-shot, seed {run.seed}, {run.protocol}, {run.manifest.block.size} px, "
            f"{describe_count(cell.episodes, 'episode')}"
            for cell in results.cells
            for run in list(cell.folds.values())[:1]
        )
        raise UsageError(
            f"no two runs of {join_some(map(repr, labels), _NAMED)} have equal episodes and sizes, so there is "
            f"nothing to compare. They are {join_some(columns, _NAMED, '; ') or 'none'}. Next: `fssbench list runs`"
        )
    spreads = estimate_seed_spread(results, resamples=resamples) if pairs else ()
    shown = [*((pair.a, pair.b) for pair in pairs), *(spread.cells for spread in spreads)]
    return Comparison(
        results,
        pairs,
        count_outcomes(pairs),
        rank_methods(results) if pairs else None,
        spreads,
        refused,
        equal,
        list_left_out(results.cells, shown, refused),
    )


def _find_equal_folders(methods: tuple[str, ...]) -> tuple[Equality, ...]:
    """Find equal run folders, if all names are folders of runs."""
    folders = [Path(name) for name in methods]
    if len(folders) < 2 or not all(any(find_run_folders(folder)) for folder in folders):
        return ()
    return tuple(find_equal(folders))


def choose_cells(
    methods: tuple[str, ...], runs: tuple[Path, ...], tell: Callable[[str], None]
) -> tuple[Results, list[str] | None, tuple[Cell, ...]]:
    """Collect the runs and choose the cells that are compared.

    A method that is a run folder, or a folder of them, stands for what is in it.

    Args:
        methods: names of methods, or run folders.
        runs: folders of runs.
        tell: called with what was left out and why.

    Returns:
        All results in the folders, without intervals; the names asked for, in order, None for all; and
        the cells asked for.
    """
    folders = {name: list(find_run_folders(Path(name))) for name in methods}
    labels = [name for name, run_folders in folders.items() if not run_folders]
    sources = [*(Path(name) for name, run_folders in folders.items() if run_folders), *runs]
    if (labels and not runs) or not sources:
        sources.append(Path("runs"))
    if labels and not any(any(find_run_folders(source)) for source in sources):
        raise DataError(
            f"no runs found in {', '.join(map(str, sources))}, and no runs found in {', '.join(map(repr, labels))} "
            "if that is meant as a folder. Next: `fssbench run --help`"
        )
    results = collect(sources, resamples=0, pictures=False)
    for note in results.notes:
        tell(note)
    if not methods:
        return results, None, results.cells
    wanted: list[str] = []
    rank: dict[int, int] = {}
    for place, name in enumerate(methods):
        run_folders = {path.resolve() for path in folders[name]}
        mine = [
            (i, cell)
            for i, cell in enumerate(results.cells)
            if any(run.path.resolve() in run_folders for run in cell.folds.values())
            or (not run_folders and name in (full_name(cell), cell.name, cell.label, cell.method))
        ]
        exact = [(i, cell) for i, cell in mine if name in (full_name(cell), cell.name)]
        if not mine and Path(name).is_dir():
            raise UsageError(
                f"no runs found in {name!r}, and no method is called so. Next: `fssbench list runs`"
            )
        if not mine:
            known = set(map(full_name, results.cells))
            raise make_unknown_error(
                "method or folder of runs", name, known, hint="Next: `fssbench list runs`"
            )
        for i, cell in exact or mine:
            rank.setdefault(i, place)
            wanted.append(cell.name)
    cells = tuple(results.cells[i] for i in sorted(rank, key=lambda i: (rank[i], i)))
    return results, list(dict.fromkeys(wanted)), cells
