"""The board: methods as rows, benchmarks and shots as columns.  Only comparable figures share a table.

Rows are grouped by setting: protocol, seed, scored size, and whether all data were used.  Sorting works within a
setting, so a sorted order never mixes different measurements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fssbench.api import (
    BENCHMARKS,
    Cell,
    LegendMark,
    Results,
    build_legend,
    first_run,
    mark_kind,
    name_weights,
    row_title,
    with_names,
)

from ..content.marks import collect_marks
from ..content.model import Entry, build_mean_entry, find_title
from ..content.published import find_kind
from ..content.text import clean, format_count
from .methods import read_card_kind
from .names import name_page

_OF_DATA = {
    *("miniature", "sample", "capped", "resized", "incomplete"),
    *("other episodes", "other lists", "other population", "support sets"),
}
"""Kinds of marks which say that other data were measured.  Other marks concern the method."""
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
    """The unrounded number, for sorting."""
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
    """The whole board, and the values of its filters."""

    columns: tuple[BoardColumn, ...]
    settings: tuple[Setting, ...]
    suites: tuple[str, ...]
    shots: tuple[int, ...]
    kinds: tuple[str, ...]
    backbones: tuple[str, ...]
    marks: tuple[str, ...]


def make_board(results: Results) -> Board:
    """Make the board of all cells."""
    results = with_names(results)
    legend = build_legend(collect_marks(results))
    place = _list_columns(results.cells)
    columns = tuple(place.values())
    settings: dict[_Setting, dict[tuple[object, ...], dict[str, Cell]]] = {}
    for cell in sorted(results.cells, key=lambda c: (c.name, c.backbone)):
        run = first_run(cell)
        data = tuple(sorted(_OF_DATA & set(_list_kinds(cell))))
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
            _make_heading(setting),
            tuple(_make_row(str(row[0]), cells, columns, legend) for row, cells in rows.items()),
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


def find_suite(benchmark: str) -> str:
    """Return the suite of a benchmark, or `custom` if it is not one of the ten."""
    record = BENCHMARKS.get(benchmark.partition(":")[0])
    return record.category if record else "custom"


def _list_columns(cells: Sequence[Cell]) -> dict[tuple[str, int], BoardColumn]:
    """Return the columns by benchmark and shot, in the order of the paper."""
    cell_by_benchmark = {cell.benchmark: cell for cell in cells}
    order = {name: n for n, name in enumerate(BENCHMARKS)}
    columns = sorted(
        {(cell.benchmark, cell.shot) for cell in cells},
        key=lambda x: (order.get(x[0].partition(":")[0], len(order)), x),
    )
    return {
        (benchmark, shot): BoardColumn(
            id=f"c{n}",
            benchmark=clean(benchmark),
            title=f"{find_title(cell_by_benchmark[benchmark])}{_format_variant(benchmark)}",
            page=name_page("benchmark", benchmark),
            shot=shot,
            suite=find_suite(benchmark),
        )
        for n, (benchmark, shot) in enumerate(columns)
    }


def _format_variant(benchmark: str) -> str:
    variant = clean(benchmark.partition(":")[2])
    return f", {variant}" if variant and benchmark.partition(":")[0] in BENCHMARKS else ""


def _list_kinds(cell: Cell) -> tuple[str, ...]:
    return tuple(dict.fromkeys(mark_kind(m) for m in cell.marks))


def _make_heading(setting: _Setting) -> str:
    protocol, seed, size, data = setting
    kept = ", ".join(data) or "whole data sets, every episode"
    return f"Protocol {clean(protocol)}, seed {seed}, scored at {clean(size)} size: {kept}"


def _make_row(
    title: str, cells: dict[str, Cell], columns: tuple[BoardColumn, ...], legend: dict[str, LegendMark]
) -> BoardRow:
    run = first_run(next(iter(cells.values())))
    return BoardRow(
        label=clean(title),
        page=name_page("method", run.method),
        kind=find_kind(run) or read_card_kind(run.method) or UNKNOWN,
        backbone=clean(run.backbone),
        weights=clean(name_weights(run)),
        learnable=f"{run.learnable / 1e6:.2f}",
        entries=tuple(_make_entry(cells.get(column.id), legend) for column in columns),
    )


def _make_entry(cell: Cell | None, legend: dict[str, LegendMark]) -> BoardEntry:
    if cell is None:
        return BoardEntry(None)
    value = cell.miou.value
    return BoardEntry(
        entry=build_mean_entry(cell, legend),
        value=repr(value) if math.isfinite(value) else "",
        episodes=format_count(cell.episodes),
        marks=_list_kinds(cell),
    )
