"""The board: methods as rows, benchmarks and shots as columns, and only like beside like.

Rows are parted by setting: protocol, seed, scored size, and whether the data were whole.  Sorting works
within a setting, so that no order is ever made of different measurements.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from fssbench.api import BENCHMARKS, Cell, Results, first_run, row_title, with_names

from ..content.marks import Mark, all_marks, collect, kind
from ..content.model import Entry, figure, title_of
from ..content.published import kind_of
from ..content.text import clean, thousands
from .methods import card_kind
from .names import page

_OF_DATA = {
    *("miniature", "sample", "capped", "resized", "incomplete"),
    *("other episodes", "other lists", "other population"),
}
"""Kinds of marks that say that something else was measured, not by what."""
UNKNOWN = "not recorded"
_Setting = tuple[str, int, str, tuple[str, ...]]


@dataclass(frozen=True)
class BoardColumn:
    """One benchmark and shot."""

    id: str
    benchmark: str
    title: str
    page: str
    shot: int
    suite: str


@dataclass(frozen=True)
class BoardEntry:
    """One number of the board."""

    entry: Entry | None
    value: str = ""
    """Unrounded, to sort by."""
    episodes: str = ""
    marks: tuple[str, ...] = ()
    """Kinds of its marks."""


@dataclass(frozen=True)
class BoardRow:
    """One method as it was run."""

    label: str
    page: str
    kind: str
    backbone: str
    weights: str
    learnable: str
    entries: tuple[BoardEntry, ...]


@dataclass(frozen=True)
class Setting:
    """Rows that measure the same way."""

    heading: str
    rows: tuple[BoardRow, ...]


@dataclass(frozen=True)
class Board:
    """The whole table, and what it can be filtered by."""

    columns: tuple[BoardColumn, ...]
    settings: tuple[Setting, ...]
    suites: tuple[str, ...]
    shots: tuple[int, ...]
    kinds: tuple[str, ...]
    backbones: tuple[str, ...]
    marks: tuple[str, ...]


def board(results: Results) -> Board:
    """Make the board of all cells."""
    results = with_names(results)
    legend = collect(all_marks(results))
    place = _columns(results.cells)
    columns = tuple(place.values())
    settings: dict[_Setting, dict[tuple[object, ...], dict[str, Cell]]] = {}
    for cell in sorted(results.cells, key=lambda c: (c.name, c.backbone)):
        run = first_run(cell)
        data = tuple(sorted(_OF_DATA & set(_kinds(cell))))
        setting = (cell.protocol, cell.seed, run.score_size, data)
        same = (cell.method, cell.backbone, run.weights, run.learnable)
        rows = settings.setdefault(setting, {})
        where = place[cell.benchmark, cell.shot].id
        row = (row_title(replace(cell, setting="")), *same)
        if where in rows.get(row, {}):  # a column of the same heading, such as another cap
            row = (row_title(cell), *same)
        rows.setdefault(row, {})[where] = cell
    shown = tuple(
        Setting(
            _heading(setting), tuple(_row(str(row[0]), cells, columns, legend) for row, cells in rows.items())
        )
        for setting, rows in sorted(settings.items(), key=lambda item: (len(item[0][3]), str(item[0])))
    )
    every = [row for setting in shown for row in setting.rows]
    return Board(
        columns=columns,
        settings=shown,
        suites=tuple(dict.fromkeys(column.suite for column in columns)),
        shots=tuple(sorted({column.shot for column in columns})),
        kinds=tuple(sorted({row.kind for row in every})),
        backbones=tuple(sorted({row.backbone for row in every})),
        marks=tuple(sorted({mark for row in every for entry in row.entries for mark in entry.marks})),
    )


def suite_of(benchmark: str) -> str:
    """The suite a benchmark belongs to; `custom` where it is not one of the ten."""
    record = BENCHMARKS.get(benchmark.partition(":")[0])
    return record.category if record else "custom"


def _columns(cells: Iterable[Cell]) -> dict[tuple[str, int], BoardColumn]:
    """Columns by benchmark and shot, in the order of the paper."""
    order = {name: n for n, name in enumerate(BENCHMARKS)}
    columns = sorted(
        {(cell.benchmark, cell.shot) for cell in cells},
        key=lambda x: (order.get(x[0].partition(":")[0], len(order)), x),
    )
    return {
        (benchmark, shot): BoardColumn(
            id=f"c{n}",
            benchmark=clean(benchmark),
            title=f"{title_of(benchmark)}{_variant(benchmark)}",
            page=page("benchmark", benchmark),
            shot=shot,
            suite=suite_of(benchmark),
        )
        for n, (benchmark, shot) in enumerate(columns)
    }


def _variant(benchmark: str) -> str:
    variant = clean(benchmark.partition(":")[2])
    return f", {variant}" if variant and benchmark.partition(":")[0] in BENCHMARKS else ""


def _kinds(cell: Cell) -> tuple[str, ...]:
    return tuple(dict.fromkeys(kind(m) for m in cell.marks))


def _heading(setting: _Setting) -> str:
    protocol, seed, size, data = setting
    kept = ", ".join(data) or "whole data sets, every episode"
    return f"Protocol {clean(protocol)}, seed {seed}, scored at {clean(size)} size: {kept}"


def _row(
    title: str, cells: dict[str, Cell], columns: tuple[BoardColumn, ...], legend: dict[str, Mark]
) -> BoardRow:
    run = first_run(next(iter(cells.values())))
    return BoardRow(
        label=clean(title),
        page=page("method", run.method),
        kind=kind_of(run) or card_kind(run.method) or UNKNOWN,
        backbone=clean(run.backbone),
        weights=clean(run.weights),
        learnable=f"{run.learnable / 1e6:.2f}",
        entries=tuple(_entry(cells.get(column.id), legend) for column in columns),
    )


def _entry(cell: Cell | None, legend: dict[str, Mark]) -> BoardEntry:
    if cell is None:
        return BoardEntry(None)
    value = cell.miou.value
    return BoardEntry(
        entry=figure(cell, legend),
        value=repr(value) if math.isfinite(value) else "",
        episodes=thousands(cell.episodes),
        marks=_kinds(cell),
    )
