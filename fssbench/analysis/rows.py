"""Joins runs into rows: a row holds the folds of one measurement and nothing else.

A mean over folds is a figure of one method only if the folds agree in everything that makes two
measurements different.  `fssbench.analysis.row_keys.row_key` lists what must agree.  Three things may differ between
the folds of one row, and are looked at here: the data that a fold reads, the weights of a training that has
a checkpoint per fold, and the command that made the run.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from fssbench.analysis.row_keys import Key, read_start_time, row_key, training_of
from fssbench.contracts.marks import Mark, MarkKind
from fssbench.contracts.provenance import BROUGHT
from fssbench.contracts.results import RunResult

_Link = Callable[[RunResult, RunResult], bool]


@dataclass(eq=False)
class _Row:
    """Runs that are in one row, in batches: the runs of one command are together."""

    batches: list[list[RunResult]] = field(default_factory=list)

    @property
    def runs(self) -> list[RunResult]:
        """The runs by fold."""
        return _group_by_fold(run for batch in self.batches for run in batch)


def join_folds(runs: Iterable[RunResult]) -> list[list[RunResult]]:
    """Put runs into rows, each with one run per fold.

    Runs of one row agree in `row_key`.  Folds that ask the same episodes have read the same bytes.  Folds
    share their weights all or not at all, unless a record says that their training was one.  If a fold was
    measured more than once, runs of one command stay together, then those with equal weights or checkpoint
    names, then those next to each other in time.

    Args:
        runs: distinct measurements.

    Returns:
        Runs of each row by fold.  Rows whose folds only the date could join carry a mark in every run.  A run
        is in two rows if a command that measured other folds again on repaired data found it unchanged.
    """
    groups: dict[Key, list[RunResult]] = defaultdict(list)
    for run in runs:
        groups[row_key(run)].append(run)
    return [row for group in groups.values() for row in _make_rows(group)]


def _make_rows(group: Sequence[RunResult]) -> list[list[RunResult]]:
    shared = _find_shared_weights(group)
    rows: list[_Row] = []
    for batch in _split_batches(group, shared):
        fitting = [row for row in rows if _fit([*row.runs, *batch], shared)]
        row = _make_linked_row(batch, fitting, rows)
        if row is None:
            row = rows[-1] if rows and rows[-1] in fitting else _Row()
        row.batches.append(batch)
        rows = [*(other for other in rows if other is not row), row]  # the latest last
    confirmed = [_find_confirmed_folds(row, rows, shared) for row in rows]
    joined = [_mark_ambiguous_runs(row) if _is_ambiguous(row, rows) else row.runs for row in rows]
    return [_group_by_fold([*runs, *more]) for runs, more in zip(joined, confirmed, strict=True)]


def _find_confirmed_folds(row: _Row, rows: Sequence[_Row], shared: set[Key]) -> list[RunResult]:
    """Find runs of other rows that are also folds of this row.

    Data were repaired, a command measured some folds again and found the others as they were: these belong
    to the row before and to the row after the repair.
    """
    own = {command for run in row.runs for command in run.commands}
    more: list[RunResult] = []
    for other in rows:
        weights = {run.fold: _list_weights(run) for run in other.runs}
        again = [weights[run.fold] == _list_weights(run) for run in row.runs if run.fold in weights]
        if other is row or not again or not all(again):
            continue  # another training, of which no fold is one of this row's
        for run in other.runs:
            if own & set(run.commands) and _fit([*row.runs, *more, run], shared):
                more.append(run)
    return more


def _make_linked_row(
    batch: Sequence[RunResult], fitting: Sequence[_Row], rows: Sequence[_Row]
) -> _Row | None:
    """Return the row that a record links to these runs, if it does not link them to all rows alike."""
    for link in _LINKS:
        linked = [row for row in rows if _links_any(link, row.runs, batch)]
        if len(linked) < len(rows):
            telling = [row for row in fitting if row in linked]
            if telling:
                return telling[-1]
    return None


def _is_ambiguous(row: _Row, rows: Sequence[_Row]) -> bool:
    """Return whether a part of the row could also belong to another row, according to the records."""
    if len(rows) == 1 or len(row.batches) == 1:
        return False
    elsewhere = [run for other in rows if other is not row for run in other.runs]
    for batch in row.batches:
        rest = [run for other in row.batches if other is not batch for run in other]
        if not any(
            _links_any(link, rest, batch) and not _links_any(link, elsewhere, batch) for link in _LINKS
        ):
            return True
    return False


def _group_by_fold(runs: Iterable[RunResult]) -> list[RunResult]:
    return sorted(runs, key=lambda run: run.fold)


def _mark_ambiguous_runs(row: _Row) -> list[RunResult]:
    """Mark the runs of a row that may hold folds of two measurements."""
    count = len(row.batches)
    mark = Mark(MarkKind.JOINED, f"folds of {count} commands, by date: no record tells which belong together")
    return [replace(run, marks=(*run.marks, mark)) for run in row.runs]


def _split_batches(group: Sequence[RunResult], shared: set[Key]) -> list[list[RunResult]]:
    """Runs of one command together, in the order of time; each run alone if they cannot be one row."""
    by_command: dict[str, list[RunResult]] = defaultdict(list)
    for run in group:
        by_command[run.commands[0] if run.commands else f"run {run.identity}"].append(run)
    batches = []
    for members in by_command.values():
        batches += [members] if _fit(members, shared) else [[run] for run in members]
    return sorted(batches, key=lambda batch: min((read_start_time(r), r.fold, r.identity) for r in batch))


def _fit(runs: Sequence[RunResult], shared: set[Key]) -> bool:
    """Return whether no record contradicts that these runs are in one row."""
    if len({run.fold for run in runs}) < len(runs):
        return False
    data: dict[str, str] = {}
    for run in runs:
        bytes_read = run.manifest.block.data_sha256
        if data.setdefault(run.plan_sha256, bytes_read) != bytes_read:
            return False
    weights = {_list_weights(run) for run in runs}
    return len(weights) == 1 or not weights & shared


def _find_shared_weights(group: Sequence[RunResult]) -> set[Key]:
    """Weights that several folds share, where no record tells which trainings are one."""
    if training_of(group[0])[0] != "unknown":
        return set()
    folds = Counter(weights for weights, _ in {(_list_weights(run), run.fold) for run in group})
    return {weights for weights, count in folds.items() if count > 1}


def _links_any(link: _Link, some: Iterable[RunResult], others: Sequence[RunResult]) -> bool:
    """Return whether a link joins a run to a run of another fold."""
    return any(a.fold != b.fold and link(a, b) for a in some for b in others)


def _have_same_data(a: RunResult, b: RunResult) -> bool:
    one, two = a.manifest.block, b.manifest.block
    return a.plan_sha256 == b.plan_sha256 and one.data_sha256 == two.data_sha256


def _have_same_weights(a: RunResult, b: RunResult) -> bool:
    return _list_weights(a) == _list_weights(b)


def _have_same_checkpoint_name(a: RunResult, b: RunResult) -> bool:
    return bool(_list_checkpoint_forms(a) & _list_checkpoint_forms(b))


_LINKS: tuple[_Link, ...] = (_have_same_data, _have_same_weights, _have_same_checkpoint_name)
"""Evidence that runs of two folds belong together, strongest first."""


def _list_checkpoint_forms(run: RunResult) -> set[str]:
    """Return the name of the run's checkpoint with its fold's number left out, wherever the number is."""
    name = run.manifest.context.checkpoint or ""
    places = list(re.finditer(rf"(?<!\d){run.fold}(?!\d)", name))
    once = {f"{name[: p.start()]}{{fold}}{name[p.end() :]}" for p in places}
    return once | ({re.sub(rf"(?<!\d){run.fold}(?!\d)", "{fold}", name)} if places else set())


def _list_weights(run: RunResult) -> Key:
    """Hashes of the weights that a training produced."""
    block = run.manifest.block
    brought = block.weights_sha256 if run.weights == BROUGHT else None
    return (block.head_sha256, str(brought))
