"""The rows of the paper's tables: the printed rows, then ours after those of the same backbone and kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fssbench.api import (
    Cell,
    Estimate,
    LegendMark,
    Results,
    RunResult,
    build_legend,
    estimate_of_runs,
    mark_letters,
    mean_sample,
    row_title,
    with_names,
)

from ..content.best_and_ties import find_best_and_tied
from ..content.comparison import list_differences, make_method_id
from ..content.published import MEAN, Published, find_kind, find_published, read_published
from ..content.text import clean, describe_span, format_count, format_interval, format_percent, format_span
from .layouts import AVERAGE, KINDS, LAYOUTS, Column, Layout, Part, name_backbone

NONE = "-"
"""Text that stands for a missing number, as in the paper."""


@dataclass(frozen=True)
class Number:
    """One figure of a table."""

    text: str
    interval: str = ""
    marks: str = ""
    bold: bool = False
    underlined: bool = False

    @property
    def decimals(self) -> int:
        """Number of digits after the decimal point."""
        return len(self.text.partition(".")[2])


@dataclass(frozen=True)
class Line:
    """One method."""

    backbone: str
    kind: str
    method: str
    venue: str
    ours: bool
    learnable: str
    numbers: tuple[Number, ...]

    @property
    def height(self) -> int:
        """Number of lines in the table.  A row with intervals has two."""
        return 1 + any(number.interval for number in self.numbers)


@dataclass(frozen=True)
class Block:
    """The lines below one heading, ordered by backbone and then by kind."""

    part: Part
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class PaperTable:
    """One table, ready for LaTeX."""

    layout: Layout
    blocks: tuple[Block, ...]
    measured: str
    """Protocol, episodes and intervals of our rows."""
    legend: tuple[LegendMark, ...]
    """Marks that occur in the table."""
    notes: tuple[str, ...]
    """Further remarks on rows, ours or printed."""

    @property
    def lines(self) -> tuple[Line, ...]:
        """Lines of all blocks."""
        return tuple(line for block in self.blocks for line in block.lines)


def make_paper_tables(results: Results) -> tuple[PaperTable, ...]:
    """Return the tables that have a benchmark among the results, in the order of the paper."""
    results = with_names(results)
    places = find_best_and_tied(results)
    tables = [_TableMaker(layout, results, places).table() for layout in LAYOUTS]
    return tuple(table for table in tables if table is not None)


class _TableMaker:
    """Makes one table."""

    def __init__(self, layout: Layout, results: Results, places: Mapping[tuple[int, str], str]) -> None:
        self.layout = layout
        self.results = results
        self.places = {(id(results.cells[n]), fold): place for (n, fold), place in places.items()}
        self.parts = [part for part in layout.parts if self._cells(part)]
        self.cells = [cell for part in self.parts for cell in self._cells(part)]
        self.runs = [run for cell in self.cells for run in cell.folds.values()]
        marks = [m for cell in self.cells for m in (*self._marks(cell), *cell.marks)]
        self.legend = build_legend([*marks, *(mark for run in self.runs for mark in run.marks)])
        self.details = _find_varying_details(self.runs)

    def table(self) -> PaperTable | None:
        """Return the table, or None if none of its benchmarks was run."""
        if not self.parts:
            return None
        blocks = tuple(Block(part, tuple(self._lines(part))) for part in self.parts)
        used_letters = {c for b in blocks for line in b.lines for n in line.numbers for c in n.marks}
        return PaperTable(
            layout=self.layout,
            blocks=blocks,
            measured=self._measured(),
            legend=tuple(mark for mark in self.legend.values() if mark.letter in used_letters),
            notes=tuple(self._notes()),
        )

    def _cells(self, part: Part) -> list[Cell]:
        """Return our cells of a part.  A table of ablations contains only methods that were ablated."""
        places = {(column.benchmark, column.shot) for column in part.columns}
        cells = [c for c in self.results.cells if (_find_base_benchmark(c), c.shot) in places]
        if not self.layout.ablations:
            return cells
        ablated = {c.method for c in cells if _get_first_run(c).ablations}
        return [c for c in cells if c.method in ablated]

    def _lines(self, part: Part) -> Iterator[Line]:
        printed = list(_list_printed_lines(self.layout.number, part))
        ours = [self._ours(title, row, part) for title, row in _group_rows(self._cells(part))]
        backbones = list(dict.fromkeys(line.backbone for line in (*printed, *ours)))
        kinds = [*KINDS, *sorted({line.kind for line in ours} - set(KINDS))]
        for backbone in backbones:
            group = [line for line in printed if line.backbone == backbone]
            if self.layout.emphasis:
                group = _embolden_best(group)
            group += [line for line in ours if line.backbone == backbone]
            yield from sorted(group, key=lambda line: kinds.index(line.kind))

    def _ours(self, title: str, row: list[Cell], part: Part) -> Line:
        run = _get_first_run(row[0])
        by_place = {(_find_base_benchmark(cell), cell.shot): cell for cell in row}
        name = title
        if not self.layout.backbone and run.backbone != "resnet50":
            name += f", {name_backbone(run.backbone)}"
        return Line(
            backbone=run.backbone,
            kind=find_kind(run) if self.layout.kind else "",
            method=", ".join([name, *(detail(run) for detail in self.details)]),
            venue="",
            ours=True,
            learnable=_format_millions(run.learnable),
            numbers=tuple(self._number(by_place, column) for column in part.columns),
        )

    def _number(self, row: dict[tuple[str, int], Cell], column: Column) -> Number:
        """Return one of our figures, or a dash if it was not measured."""
        if column.benchmark == AVERAGE:
            return self._average(row, column.shot)
        cell = row.get((column.benchmark, column.shot))
        if cell is None:
            return Number(NONE)
        if column.fold == MEAN:
            return self._figure(cell.miou, self._marks(cell), self.places.get((id(cell), MEAN)))
        run = cell.folds.get(int(column.fold))
        if run is None:
            return Number(NONE)
        marks = (*run.marks, *_mark_other_variant(cell, self.layout.number))
        return self._figure(run.miou, marks, self.places.get((id(cell), column.fold)))

    def _average(self, row: dict[tuple[str, int], Cell], shot: int) -> Number:
        """Return the mean over the table's benchmarks if all were measured.  Their episodes are independent."""
        bases = dict.fromkeys(c.benchmark for part in self.layout.parts for c in part.columns)
        bases.pop(AVERAGE)
        cells = [row[base, shot] for base in bases if (base, shot) in row]
        if len(cells) < len(bases):
            return Number(NONE)
        estimates = [
            estimate_of_runs(
                list(cell.folds.values()), resamples=self.results.resamples, seed=self.results.bootstrap_seed
            )
            for cell in cells
        ]
        mean = mean_sample([mean_sample([miou for miou, _ in folds]) for folds in estimates]).estimate
        if lacking := next((cell.miou.shortage for cell in cells if cell.miou.shortage), ""):
            mean = Estimate(mean.value, math.nan, math.nan, lacking)
        return self._figure(mean, [mark for cell in cells for mark in self._marks(cell)], None)

    def _figure(self, figure: Estimate, marks: Iterable[str], place: str | None) -> Number:
        standing = place if self.layout.emphasis else None
        return Number(
            text=format_percent(figure.value),
            interval=format_interval(figure),
            marks=mark_letters(marks, self.legend),
            bold=standing == "best",
            underlined=standing == "tied",
        )

    def _marks(self, cell: Cell) -> tuple[str, ...]:
        """Return the marks of a mean over folds."""
        return (*cell.marks, *_mark_other_variant(cell, self.layout.number))

    def _measured(self) -> str:
        """Describe protocol, episodes and intervals of our rows.  Facts that differ are printed in the rows."""
        counts, planned = ({run.episodes for run in self.runs}, {run.planned for run in self.runs})
        episodes = f"{describe_span(counts, 'episode')} per fold and shot"
        if counts != planned:
            episodes += f" of {format_span(planned)} planned"
        same = [detail(self.runs[0]) for detail in _DETAILS if detail not in self.details]
        return (
            f"{', '.join([*same, episodes])}, with the 95\u00a0% interval in brackets (bootstrap over episodes, "
            f"stratified by class, clustered by query, {format_count(self.results.resamples)} resamples)"
        )

    def _notes(self) -> Iterator[str]:
        """Yield further remarks: first on our rows, then on printed rows.  Equal remarks are printed once."""
        ours: dict[str, dict[str, dict[str, None]]] = {}
        printed: dict[str, dict[str, dict[str, None]]] = {}
        for cell in self.cells:
            run = _get_first_run(cell)
            for note in (f"weights {clean(run.weights)}", *self._departures(cell)):
                _add_note(ours, note, f"{_make_title(_drop_setting(cell))}†", run.backbone)
        bases = set(map(_find_base_benchmark, self.cells))
        rows = [p for p in read_published() if p.table == self.layout.number and p.base in bases]
        for p in rows:
            if p.note:
                _add_note(printed, p.note, f"{p.method} ({p.venue})", p.backbone)
        every = {f"{p.method} ({p.venue})" for p in rows}
        yield from (f"{_join_methods(methods)}: {note}" for note, methods in ours.items())
        for note, methods in printed.items():
            yield f"{'All printed rows' if set(methods) == every else _join_methods(methods)}: {note}"

    def _departures(self, cell: Cell) -> Iterator[str]:
        """Yield the differences between our measurement of a method and the printed one, except for marks."""
        run = _get_first_run(cell)
        candidates = [
            p
            for p in find_published(cell.benchmark, shot=cell.shot)
            if p.table == self.layout.number and p.id == make_method_id(run)
        ]
        printed = next((p for p in candidates if p.backbone == run.backbone), None)
        if printed := printed or next(iter(candidates), None):
            yield from list_differences(run, (), printed)


def _get_first_run(cell: Cell) -> RunResult:
    return next(iter(cell.folds.values()))


def _find_base_benchmark(cell: Cell) -> str:
    return cell.benchmark.partition(":")[0]


def _drop_setting(cell: Cell) -> Cell:
    """Return the cell without the setting (seed, protocol, size) that its line prints already."""
    return replace(cell, setting="")


def _make_title(cell: Cell) -> str:
    """Return the name of the row, with the method's name as papers print it."""
    title, name = _get_first_run(cell).manifest.context.title, row_title(cell)
    return clean(name.replace(cell.method, title, 1) if title else name)


def _format_millions(count: int) -> str:
    """Return the learnable parameters in millions, in the paper's form."""
    return f"{count / 1e6:.2f}" if count >= 5_000 else "<0.01" if count else "0"


def _add_note(notes: dict[str, dict[str, dict[str, None]]], note: str, method: str, backbone: str) -> None:
    notes.setdefault(note, {}).setdefault(method, {})[name_backbone(backbone)] = None


def _join_methods(methods: dict[str, dict[str, None]]) -> str:
    return "; ".join(f"{method} on {', '.join(backbones)}" for method, backbones in methods.items())


_DETAILS: tuple[Callable[[RunResult], str], ...] = (
    lambda run: f"protocol {clean(run.protocol)}",
    lambda run: f"seed {run.seed}",
    lambda run: f"scored at {clean(run.score_size)} size",
)
"""Facts besides the method in which our lines may differ."""


def _find_varying_details(runs: Sequence[RunResult]) -> tuple[Callable[[RunResult], str], ...]:
    return tuple(detail for detail in _DETAILS if len({detail(run) for run in runs}) > 1)


def _mark_other_variant(cell: Cell, table: int) -> tuple[str, ...]:
    """Return a mark if the variant is one that no printed row measures."""
    printed = {
        p.benchmark for p in read_published() if p.table == table and p.base == _find_base_benchmark(cell)
    }
    variant = cell.benchmark.partition(":")[2]
    if cell.benchmark in printed or not variant or _find_base_benchmark(cell) in printed:
        return ()
    return (f"variant ({_find_base_benchmark(cell)} as {clean(variant)})",)


def _list_printed_lines(table: int, part: Part) -> Iterator[Line]:
    """Yield the paper's rows of a part, in the paper's order."""
    columns = part.columns
    bases = {column.benchmark for column in columns}
    rows: dict[tuple[str, str, str], list[Published]] = {}
    for p in read_published():
        if p.table == table and p.base in bases:
            rows.setdefault((p.backbone, p.type, p.id), []).append(p)
    for (backbone, kind, _), numbers in rows.items():
        values = {(p.base, p.shot, p.fold): p.value for p in numbers}
        first = numbers[0]
        star = "*" if "marked *" in first.note else ""
        yield Line(
            backbone=backbone,
            kind=kind,
            method=first.method,
            venue=first.venue,
            ours=False,
            learnable=f"{first.learnable_millions}{star}" if first.learnable_millions else NONE,
            numbers=tuple(Number(values.get((c.benchmark, c.shot, c.fold), NONE)) for c in columns),
        )


def _embolden_best(lines: list[Line]) -> list[Line]:
    """Return the lines with the best printed number of each column in bold, as in the paper."""
    best = [
        max((float(n.text) for n in column if n.text != NONE), default=None)
        for column in _list_columns(lines)
    ]
    return [
        replace(
            line,
            numbers=tuple(
                replace(n, bold=n.text != NONE and float(n.text) == top)
                for n, top in zip(line.numbers, best, strict=True)
            ),
        )
        for line in lines
    ]


def _list_columns(lines: Iterable[Line]) -> Iterator[tuple[Number, ...]]:
    return zip(*(line.numbers for line in lines), strict=True)


def _group_rows(cells: Iterable[Cell]) -> list[tuple[str, list[Cell]]]:
    """Group cells to lines with names: one method with equal settings, at most one cell per benchmark and shot."""
    rows: dict[tuple[object, ...], dict[tuple[str, int], Cell]] = {}
    for cell in cells:
        run, place = _get_first_run(cell), (_find_base_benchmark(cell), cell.shot)
        same = (cell.backbone, run.weights, cell.seed, cell.protocol, run.score_size)
        key: tuple[object, ...] = (_make_title(_drop_setting(cell)), *same)
        if place in rows.get(key, {}):  # of another cap, input size or variant
            key = (_make_title(cell), cell.benchmark, *same)
        rows.setdefault(key, {})[place] = cell
    return [(str(key[0]), list(row.values())) for key, row in rows.items()]
