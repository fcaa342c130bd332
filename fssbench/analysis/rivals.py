"""Which methods compete with each other, and what their networks saw in pretraining.

Methods compete within a column (benchmark, shot, seed, protocol, sizes), on one backbone, with the same information.
A method that reads more than its supports and one query stands apart.  A lower bound competes with nobody: it is never
the best, and never tied with the best.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from fssbench.analysis.row_keys import Key, column_key, first_run
from fssbench.contracts.marks import MarkKind
from fssbench.contracts.method_card import BOUND
from fssbench.contracts.results import Cell, RunResult

PRETRAINING_NOT_RECORDED = "not recorded"
"""Pretraining of a run that an earlier version stored."""
NO_NETWORK = "none (no network)"
"""Pretraining of a method without any network."""


def is_bound(cell: Cell) -> bool:
    """Return whether the cell is that of a lower bound."""
    return first_run(cell).manifest.context.kind == BOUND


def reads_more(cell: Cell) -> str:
    """Return what the method reads besides its supports and one query; empty for nothing."""
    return "; ".join(sorted({mark.detail for mark in cell.marks if mark.kind == MarkKind.MORE_INFORMATION}))


def stands_apart(cell: Cell) -> bool:
    """Return whether the method is no rival of the usual ones."""
    return is_bound(cell) or bool(reads_more(cell))


def group_rivals(cells: Mapping[int, Cell]) -> list[list[int]]:
    """Group cells, by number, whose methods compete; bounds are left out."""
    groups: dict[Key, list[int]] = defaultdict(list)
    for number, cell in cells.items():
        if not is_bound(cell):
            groups[*column_key(first_run(cell)), cell.backbone, reads_more(cell)].append(number)
    return list(groups.values())


def order_of_rivals(cell: Cell) -> tuple[bool, str]:
    """Return a key that sorts methods that read more behind the usual ones, and lower bounds behind both."""
    return is_bound(cell), reads_more(cell)


def describe_pretraining(run: RunResult) -> str:
    """Say what the networks of a run saw in their pretraining, such as `backbone: LVD-142M; segmenter: SA-1B`."""
    context = run.manifest.context
    if "pretraining" not in context.model_fields_set:
        return PRETRAINING_NOT_RECORDED
    if list(context.pretraining) == ["backbone"]:
        return context.pretraining["backbone"]
    return "; ".join(f"{name}: {seen}" for name, seen in context.pretraining.items()) or NO_NETWORK


def name_weights(run: RunResult) -> str:
    """Name the weights of the backbone, with what the networks saw in pretraining if that is recorded."""
    seen = describe_pretraining(run)
    if seen in {PRETRAINING_NOT_RECORDED, NO_NETWORK}:
        return run.weights
    return f"{run.weights} (pretraining {seen})"


def explain_pretraining(cells: Iterable[Cell], names: Sequence[str]) -> str:
    """Say which rows differ in their pretraining; empty if none do.  Methods without a network are left out.

    Args:
        cells: the cells of one table.
        names: the name of the row of each cell.
    """
    rows: dict[str, dict[str, None]] = defaultdict(dict)
    for cell, name in zip(cells, names, strict=True):
        for run in cell.folds.values():
            rows[describe_pretraining(run)][name] = None
    rows.pop(NO_NETWORK, None)
    if len(rows) < 2:
        return ""
    listed = (f"{seen} ({', '.join(named)})" for seen, named in rows.items())
    return f"Networks differ in what they saw in pretraining: {'; '.join(listed)}."
