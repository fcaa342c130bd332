"""Finds the cells that can be compared, and their common episodes.

Cells are compared within a column (benchmark, shot, seed, protocol, sizes), and only if both have counted the
same episodes of the same data.  Episodes of two plans are the same if class, query, supports and the number of
true pixels are equal.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from fssbench.analysis.row_keys import COLUMN, COLUMN_OPTIONS, Key, column_key, first_run
from fssbench.analysis.row_names import full_name, setting_name, with_names
from fssbench.contracts.results import Cell, Results, RunResult
from fssbench.errors import UsageError
from fssbench.plural import describe_count


@dataclass(frozen=True)
class Match:
    """Two cells that can be compared."""

    a: Cell
    b: Cell
    methods: tuple[str, str]
    """Names of A and B, unique in their column."""
    runs: tuple[tuple[RunResult, RunResult], ...]
    """The runs of A and B for each fold, on their common episodes."""
    note: str = ""
    """How it differs from a comparison of whole cells."""


@dataclass(frozen=True)
class Refusal:
    """Two methods on one benchmark and shot that cannot be compared."""

    benchmark: str
    shot: int
    methods: tuple[str, str]
    reason: str
    """Description of the difference."""
    shareable: bool
    """Whether they can be compared on the episodes they share."""


@dataclass(frozen=True)
class LeftOut:
    """A cell that is in no pair, although its method may be in pairs of other columns."""

    cell: Cell
    name: str
    """Name of the cell, with what tells it apart from others of its benchmark and shot."""
    reason: str
    """Why no other cell can be compared with it."""
    options: tuple[str, ...]
    """Options of `fssbench run` that chose the difference; empty if no other method was measured there."""


_OF_ITS_OWN = -1
"""Number of a cell that is compared with each other one in all respects."""
_REASONS = 3
"""Reasons that a refusal names of two methods that were measured several times."""
_SHAREABLE = {"seed", "protocol", "cap", "support sets"}
"""Parts of a column that affect only which episodes are drawn."""


def differs(a: Cell, b: Cell) -> str:
    """Explain why two cells of one column cannot be paired; empty if they can."""
    if set(a.folds) != set(b.folds):
        return f"folds {_list_folds(a.folds)} against {_list_folds(b.folds)}"
    for fold in sorted(a.folds):
        mine, other = a.folds[fold], b.folds[fold]
        if mine.plan_sha256 != other.plan_sha256:
            return f"the plans of fold {fold} differ ({mine.plan_sha256[:8]} against {other.plan_sha256[:8]})"
    return _describe_difference(a, b)


def comparable(cells: Sequence[Cell]) -> list[list[int]]:
    """Group the cells of a column (by index) into parts that can be compared, highest mIoU first in each part.

    Cells with other episodes or data form a group of their own.
    """
    parts: list[list[int]] = []
    for i in sorted(range(len(cells)), key=lambda i: -cells[i].miou.value):
        part = next((part for part in parts if not differs(cells[part[0]], cells[i])), None)
        if part is None:
            parts.append([i])
        else:
            part.append(i)
    return parts


def _describe_difference(a: Cell, b: Cell) -> str:
    """Describe differences between two cells that no choice of episodes can remove."""
    for fold in sorted(set(a.folds) & set(b.folds)):
        mine, other = (cell.folds[fold].manifest.block for cell in (a, b))
        same_plan = a.folds[fold].plan_sha256 == b.folds[fold].plan_sha256
        for name in ("benchmark_version", "engine", *(("absent", "data_sha256") if same_plan else ())):
            one, two = getattr(mine, name), getattr(other, name)
            if one != two:
                return f"{name} of fold {fold} differs ({one!s:.12} against {two!s:.12})"
        if same_plan:
            left, right = _restrict_same_plan(a.folds[fold], b.folds[fold])
            if not left.episodes:
                return f"no episode of fold {fold} was counted by both"
            if wrong := int((left.target != right.target).sum()):
                return f"the truth of fold {fold} differs in {wrong} of {left.episodes} episodes"
    return ""


def select_cells(results: Results, methods: Sequence[str] | None) -> tuple[list[Cell], list[str]]:
    """Select the cells of the wanted methods, with the name of each, in the order of the methods."""
    names = [cell.name for cell in with_names(results).cells]
    order = sorted(set(names)) if methods is None else list(dict.fromkeys(methods))
    if unknown_names := sorted(set(order) - set(names)):
        raise UsageError(f"no run of {', '.join(unknown_names)}. Known: {', '.join(sorted(set(names)))}")
    kept = sorted((order.index(n), i) for i, n in enumerate(names) if n in order)
    return [results.cells[i] for _, i in kept], [names[i] for _, i in kept]


def group_columns(cells: Sequence[Cell]) -> dict[Key, list[int]]:
    """Indices of the cells of each column; columns are sorted by benchmark and shot."""
    members: dict[Key, list[int]] = defaultdict(list)
    for i, cell in enumerate(cells):
        members[column_key(first_run(cell))].append(i)
    return dict(sorted(members.items(), key=lambda item: (item[0][0], int(item[0][1]), item[0])))


def match_cells(results: Results, shared: bool, methods: Sequence[str] | None) -> Iterator[Match | Refusal]:
    """Match every two cells of a column, then methods that share a benchmark and shot but no column."""
    cells, names = select_cells(results, methods)
    full = dict(zip(map(id, results.cells), map(full_name, with_names(results).cells), strict=True))
    by_column = group_columns(cells)
    alike = _number_alike(cells)
    met: dict[tuple[str, int], set[tuple[str, str]]] = defaultdict(set)
    for members in by_column.values():
        for i, j in combinations(members, 2):
            a, b = cells[i], cells[j]
            met[a.benchmark, a.shot].add((names[i], names[j]))
            methods = (full[id(a)], full[id(b)])
            if alike[i] == alike[j] != _OF_ITS_OWN:
                yield Match(a, b, methods, tuple((a.folds[fold], b.folds[fold]) for fold in sorted(a.folds)))
            else:
                yield _match(a, b, methods, shared)
    places: dict[tuple[str, int], list[int]] = defaultdict(list)
    for members in by_column.values():
        places[cells[members[0]].benchmark, cells[members[0]].shot] += members
    for place, members in places.items():
        by_name: dict[str, list[Cell]] = defaultdict(list)
        for i in sorted(members):
            by_name[names[i]].append(cells[i])
        for couple in combinations(by_name, 2):
            if couple not in met[place]:
                yield from _match_other_columns(by_name[couple[0]], by_name[couple[1]], couple, shared)


def _number_alike(cells: Sequence[Cell]) -> list[int]:
    """Number the cells so that those with equal numbers do not differ, as `differs` says, and counted the same.

    Hundreds of cells are matched each with each, so that what they have in common is found once for all.
    """
    numbers: dict[object, int] = {}
    return [
        numbers.setdefault(tuple(_list_common(cell)), len(numbers))
        if all(run.episodes for run in cell.folds.values())
        else _OF_ITS_OWN
        for cell in cells
    ]


def _list_common(cell: Cell) -> Iterator[object]:
    for fold, run in sorted(cell.folds.items()):
        block = run.manifest.block
        yield fold, run.plan_sha256, run.whole, run.indices.tobytes(), run.target.tobytes()
        yield block.benchmark_version, block.engine, block.absent, block.data_sha256


def _match_other_columns(
    mine: list[Cell], others: list[Cell], methods: tuple[str, str], shared: bool
) -> Iterator[Match | Refusal]:
    """Match two methods that share no column on their common episodes, or give one refusal with all reasons."""
    tried = [_match(a, b, methods, shared) for a, b in product(mine, others)]
    matches = [m for m in tried if isinstance(m, Match)]
    if matches:
        yield from matches
        return
    refusals = [r for r in tried if isinstance(r, Refusal)]
    reasons = list(dict.fromkeys(r.reason for r in refusals))
    more = f"; and {len(reasons) - _REASONS} more" if len(reasons) > _REASONS else ""
    shareable = any(r.shareable for r in refusals)
    yield replace(refusals[0], reason=", or ".join(reasons[:_REASONS]) + more, shareable=shareable)


def list_left_out(
    cells: Sequence[Cell], shown: Iterable[Sequence[Cell]], refused: Iterable[Refusal]
) -> tuple[LeftOut, ...]:
    """List the cells that no comparison shows and no refusal explains.

    A method that was measured at two sizes, for example, is compared at the size of the other method alone.
    A refusal explains the cells of its column.  It explains the method in all columns if nothing shows the method.

    Args:
        cells: all cells, with their names.
        shown: the cells of each pair, and of each spread between seeds.
        refused: the pairs that could not be compared.
    """
    known = {id(cell): (cell.benchmark, cell.shot, cell.name) for group in shown for cell in group}
    explained = {(r.benchmark, r.shot, name) for r in refused for name in r.methods} - set(known.values())
    alone = [cells[members[0]] for members in group_columns(cells).values() if len(members) == 1]
    lonely = [
        cell
        for cell in alone
        if id(cell) not in known and (cell.benchmark, cell.shot, cell.name) not in explained
    ]
    return tuple(_explain_left_out(cell, cells) for cell in lonely)


def _explain_left_out(cell: Cell, cells: Sequence[Cell]) -> LeftOut:
    """Compare a cell with the other methods of its benchmark and shot, and say how the most similar one differs."""
    others = [
        other
        for other in cells
        if (other.benchmark, other.shot) == (cell.benchmark, cell.shot) and other.name != cell.name
    ]
    if not others:
        return LeftOut(cell, setting_name(cell), "it is the only one of these methods there", ())
    nearest = min(others, key=lambda other: len(_list_differing_parts(cell, other)))
    parts = _list_differing_parts(cell, nearest)
    reason = f"{_describe_parts(parts)} of {full_name(nearest)}"
    return LeftOut(cell, setting_name(cell), reason, tuple(COLUMN_OPTIONS[name] for name, _, _ in parts))


def _list_differing_parts(a: Cell, b: Cell) -> list[tuple[str, str, str]]:
    """List the parts in which the columns of two cells differ: name, and the values of both."""
    keys = zip(COLUMN, column_key(first_run(a)), column_key(first_run(b)), strict=True)
    return [(name, x, y) for name, x, y in keys if x != y]


def _describe_parts(parts: Iterable[tuple[str, str, str]]) -> str:
    return "; ".join(f"{name} {x or 'none'} against {y or 'none'}" for name, x, y in parts)


def _match(a: Cell, b: Cell, methods: tuple[str, str], shared: bool) -> Match | Refusal:
    parts = _list_differing_parts(a, b)
    reason = _describe_parts(parts) or differs(a, b)
    if not reason:
        return Match(a, b, methods, match_common_episodes(a, b).runs)
    broken = not {name for name, _, _ in parts} <= _SHAREABLE or bool(_describe_difference(a, b))
    if not shared or broken:
        return Refusal(a.benchmark, a.shot, methods, reason, not broken)
    runs = tuple(
        _restrict_other_plan(a.folds[fold], b.folds[fold]) for fold in sorted(set(a.folds) & set(b.folds))
    )
    runs = tuple(couple for couple in runs if couple[0].episodes)
    if not runs:
        return Refusal(a.benchmark, a.shot, methods, f"{reason}; they share no episode", False)
    count = sum(run.episodes for run, _ in runs)
    return Match(
        a,
        b,
        methods,
        runs,
        f"compared on {describe_count(count, 'shared episode')} of plans that differ: {reason}",
    )


def match_common_episodes(a: Cell, b: Cell) -> Match:
    """Match two cells that do not differ, on the episodes that both have counted."""
    couples = tuple(_restrict_same_plan(a.folds[fold], b.folds[fold]) for fold in sorted(a.folds))
    return Match(a, b, (full_name(a), full_name(b)), couples)


def _restrict_same_plan(a: RunResult, b: RunResult) -> tuple[RunResult, RunResult]:
    """Restrict two runs of one plan to the episodes that both have counted."""
    if np.array_equal(a.indices, b.indices):
        alike = a.whole and b.whole
        left, right = (run if run.whole == alike else replace(run, whole=alike) for run in (a, b))
        return left, right  # the runs themselves where nothing changes, so that each is resampled once
    both = np.intersect1d(a.indices, b.indices)
    return restrict_to(a, np.flatnonzero(np.isin(a.indices, both))), restrict_to(
        b, np.flatnonzero(np.isin(b.indices, both))
    )


def _restrict_other_plan(a: RunResult, b: RunResult) -> tuple[RunResult, RunResult]:
    """Restrict two runs of different plans to the episodes with the same class, images and truth.

    A repeated episode is shared as often as both runs have it.  The mean is over the classes with a shared
    episode.
    """
    places = _number_episodes(b)
    rows = [(i, places[key]) for key, i in _number_episodes(a).items() if key in places]
    mine, other = (np.array([row[k] for row in rows], dtype=np.int64) for k in (0, 1))
    shared_classes = set(a.class_ids[mine].tolist())
    stream = "+".join(sorted({a.plan_sha256, b.plan_sha256}))
    rule = a.absent_rule if a.absent_rule == b.absent_rule else "exclude"
    classes = tuple(c for c in a.classes if c in shared_classes)
    left, right = (
        replace(
            restrict_to(run, kept).with_absent_rule(rule), plan_sha256=stream, classes=classes, whole=False
        )
        for run, kept in ((a, mine), (b, other))
    )
    return left, right


def _number_episodes(run: RunResult) -> dict[tuple[object, ...], int]:
    """Return the row of each episode by its content; repeats are numbered."""
    seen = Counter[tuple[object, ...]]()
    rows: dict[tuple[object, ...], int] = {}
    supports = run.supports or [()] * run.episodes
    shows = zip(run.class_ids.tolist(), run.queries, supports, run.target.tolist(), strict=True)
    for i, key in enumerate(shows):
        rows[*key, seen[key]] = i
        seen[key] += 1
    return rows


def restrict_to(run: RunResult, rows: NDArray[np.int64]) -> RunResult:
    """Restrict a run to some of its episodes; its stored figures are still those of all."""
    return replace(
        run,
        whole=run.whole and len(rows) == run.episodes,
        class_ids=run.class_ids[rows],
        inter=run.inter[rows],
        union=run.union[rows],
        target=run.target[rows],
        indices=run.indices[rows],
        queries=tuple(run.queries[i] for i in rows),
        supports=tuple(run.supports[i] for i in rows) if run.supports else (),
        support_pixels=tuple(run.support_pixels[i] for i in rows) if run.support_pixels else (),
    )


def _list_folds(folds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(folds)))
