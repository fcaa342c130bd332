"""The changes between two reports: new, removed and changed cells, by how much, and why.

Two cells are compared if benchmark, label, backbone, shot, seed, protocol and score size are equal.
If both have counted the same episodes of the same data, the change has a paired interval.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fssbench.analysis.collect import collect
from fssbench.analysis.comparisons import LEVEL, compute_differences
from fssbench.analysis.matching import differs, match_common_episodes
from fssbench.analysis.results_file import RESULTS_FILE, read_results
from fssbench.analysis.row_keys import (
    Key,
    column_key,
    first_run,
    method_key,
    method_marks,
    row_key,
    training_of,
)
from fssbench.analysis.row_names import name_rows, row_title
from fssbench.analysis.statistics import adjust_by_holm
from fssbench.contracts.resamples import PAIR_RESAMPLES
from fssbench.contracts.results import Cell, Change, Changes, Departure, Estimate, Results
from fssbench.contracts.run_manifest import RunManifest
from fssbench.errors import DataError
from fssbench.evidence import distinct_episodes

_CONTEXT = ("packages", "python", "system", "gpu", "threads", "checkpoint", "learnable", "parameters")
"""Parts of the context that are compared if identities are equal and figures are not."""


def read_other(path: Path, *, resamples: int, seed: int) -> Results:
    """Read the report to compare with: a report folder, its `results.json`, or a folder of runs.

    Raises:
        DataError: if there is neither.
    """
    if path.is_file() or (path / RESULTS_FILE).is_file():
        return read_results(path if path.is_file() else path / RESULTS_FILE)
    try:
        return collect([path], resamples=resamples, seed=seed)
    except DataError as error:
        raise DataError(f"nothing to compare with in {path}: no {RESULTS_FILE}, and {error}") from error


def add_changes(results: Results, other: Results, *, against: str) -> Results:
    """Add to the results what has changed since `other`."""
    couples, gone = _pair_cells(results.cells, other.cells)
    changes: list[Change] = []
    unchanged = 0
    for after, before in couples:
        if before is None:
            changes.append(Change("added", None, after))
        elif _are_equal(before, after):
            unchanged += 1
        else:
            changes.append(_change(before, after))
    changes += [Change("removed", before, None) for before in gone]
    changes = _add_paired_intervals(changes, results)
    return replace(results, changes=Changes(against, tuple(changes), unchanged))


def change_titles(changes: Changes) -> list[str]:
    """Name each change, uniquely for a benchmark and shot.

    An added and a removed cell may have the same name in their reports.
    """
    cells = [change.after or change.before for change in changes.changes]
    present = [cell for cell in cells if cell is not None]
    titles = list(map(row_title, present))
    places = [
        (title, cell.backbone, cell.benchmark, cell.shot) for title, cell in zip(titles, present, strict=True)
    ]
    often = Counter(places)
    together = map(row_title, name_rows(present))
    return [
        other if often[place] > 1 else title
        for title, other, place in zip(titles, together, places, strict=True)
    ]


def _make_key(cell: Cell) -> Key:
    run = first_run(cell)
    place = (cell.benchmark, str(cell.shot), str(cell.seed), cell.protocol, run.score_size)
    return (*place, cell.label, cell.backbone)


def _pair_cells(
    mine: tuple[Cell, ...], others: tuple[Cell, ...]
) -> tuple[list[tuple[Cell, Cell | None]], list[Cell]]:
    """Pair each cell with its counterpart in the other results, and list the other cells without one.

    Of several with one key, those that agree most belong together: equal identities first, then the same
    program, then the fewest other facts that differ.
    """
    near = sorted(
        (_measure_distance(cell, other), n, m)
        for n, cell in enumerate(mine)
        for m, other in enumerate(others)
        if _make_key(cell) == _make_key(other)
    )
    counterpart: dict[int, int] = {}
    for _, n, m in near:
        if n not in counterpart and m not in counterpart.values():
            counterpart[n] = m
    couples = [(cell, others[counterpart[n]] if n in counterpart else None) for n, cell in enumerate(mine)]
    return couples, [other for m, other in enumerate(others) if m not in counterpart.values()]


def _measure_distance(cell: Cell, other: Cell) -> tuple[int, ...]:
    """Return how much two cells differ as measurements; smaller means more similar."""
    if _list_identities(cell) == _list_identities(other):
        return (0,)
    run, its = first_run(cell), first_run(other)
    mine, theirs = row_key(run), row_key(its)
    fields, before = (each.manifest.block.as_stored() for each in (run, its))
    return (
        1,
        -len(_list_identities(cell).items() & _list_identities(other).items()),
        method_key(run) != method_key(its),
        method_marks(run) != method_marks(its),
        training_of(run) != training_of(its),
        sum(fields.get(name) != before.get(name) for name in {*fields, *before}),
        sum(a != b for a, b in zip(mine, theirs, strict=True)),
    )


def _list_identities(cell: Cell) -> dict[int, str]:
    return {fold: run.identity for fold, run in cell.folds.items()}


def _are_equal(before: Cell, after: Cell) -> bool:
    """Return whether both are the same measurement with the same counts, to the pixel."""
    if _list_identities(before) != _list_identities(after) or set(before.marks) != set(after.marks):
        return False
    return all(
        (one.indices == two.indices).all()
        and (one.inter == two.inter).all()
        and (one.union == two.union).all()
        if one.episodes == two.episodes
        else False
        for one, two in ((before.folds[fold], run) for fold, run in after.folds.items())
    )


def _change(before: Cell, after: Cell) -> Change:
    column, other = column_key(first_run(after)), column_key(first_run(before))
    reason = "they were scored or capped in different ways" if column != other else differs(after, before)
    if reason:
        return Change("changed", before, after, tuple(_find_departures(before, after)), unpaired=reason)
    count = distinct_episodes(run for run, _ in match_common_episodes(after, before).runs)
    return Change("changed", before, after, tuple(_find_departures(before, after)), episodes=count)


def _add_paired_intervals(changes: list[Change], results: Results) -> list[Change]:
    """Add the paired interval and the verdict to each change on one plan.

    The family that p is adjusted over is every paired change of one benchmark and shot.
    """
    places = [n for n, change in enumerate(changes) if change.episodes]
    couples = [(c.after, c.before) for c in (changes[n] for n in places) if c.after and c.before]
    resamples = max(PAIR_RESAMPLES, results.resamples)
    gaps = compute_differences(couples, resamples=resamples, seed=results.bootstrap_seed)
    families: dict[tuple[str, int], list[int]] = defaultdict(list)
    for i, (after, _) in enumerate(couples):
        families[after.benchmark, after.shot].append(i)
    for family in families.values():
        for i, p in zip(family, adjust_by_holm([gaps[i].p for i in family]), strict=True):
            gap, n = gaps[i], places[i]
            paired = Estimate(gap.value, gap.low, gap.high, gap.shortage)
            verdict = None if math.isnan(p) else p <= LEVEL
            changes[n] = replace(changes[n], paired=paired, significant=verdict)
    return changes


def _find_departures(before: Cell, after: Cell) -> Iterator[Departure]:
    """Find what differs in the identities; if nothing does, what differs in the contexts."""
    folds = sorted(set(before.folds) & set(after.folds))
    departures: dict[tuple[str, str, str], list[int]] = {}
    for list_facts in (_list_identity_facts, _list_context_facts):
        for fold in folds:
            one, two = (list_facts(cell.folds[fold].manifest) for cell in (before, after))
            for name in sorted(one.keys() | two.keys()):
                if one.get(name) != two.get(name):
                    departures.setdefault((name, one.get(name, ""), two.get(name, "")), []).append(fold)
        if departures:
            break
    for (name, old, new), where in departures.items():
        yield Departure(name, old, new, tuple(where))


def _list_identity_facts(manifest: RunManifest) -> dict[str, str]:
    return dict(_flatten(manifest.block.as_stored()))


def _list_context_facts(manifest: RunManifest) -> dict[str, str]:
    stored = manifest.context.as_stored()
    return dict(_flatten({name: stored[name] for name in _CONTEXT if name in stored}, "context."))


def _flatten(block: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in block.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
