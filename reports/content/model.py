"""The presentation model: the content of a report as sections, rows and entries, with numbers already as text.

`build_report` makes it from the table model (`fssbench.api.Results`).  All its text is clean (`text.clean`).  It is not
escaped, because each format has its own escaping.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fssbench.api import (
    LEAST_FREEDOM,
    LEAST_IN_CLASS,
    PAIR_RESAMPLES,
    Cell,
    Estimate,
    LegendMark,
    MarkKind,
    Results,
    RunResult,
    UsageError,
    build_legend,
    describe_count,
    explain_pretraining,
    find_plan_benchmark,
    mark_letters,
    name_weights,
    row_title,
    verdicts,
    with_names,
)

from .changes import ChangeList, list_changes
from .comparison import Comparison, compare_with_paper
from .marks import collect_marks
from .provenance import RunLine, collect_environment, describe_run
from .published import MEAN, Published, find_published
from .text import NOTHING, clean, format_count, format_interval, format_parameters, format_percent


@dataclass(frozen=True)
class Column:
    """One column of a section: a fold, the mean over folds, FB-IoU or the number of episodes, at one shot."""

    shot: int
    key: str
    """`0`, `1`, ... for folds, or `mean`, `fb`, `episodes`."""
    name: str


@dataclass(frozen=True)
class Entry:
    """One printed number."""

    text: str
    interval: str = ""
    marks: str = ""
    """Letters of the legend."""
    bold: bool = False
    """Whether it is the best of its column, or not significantly worse than the best."""
    what: str = ""
    """`miou`, `fb-iou` or `episodes` for our numbers.  Empty for a published number."""
    runs: tuple[str, ...] = ()
    """First twelve digits of the identities of its runs."""
    tied: bool = False
    """Whether it is bold without being the best."""


@dataclass(frozen=True)
class Row:
    """One method with one backbone, measured or published."""

    label: str
    backbone: str
    learnable: str
    detail: str
    """Of a measured row weights, protocol and seed.  Of a published row venue, table, and a differing variant."""
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
    """Remarks on a published row."""
    millions: str = NOTHING
    """`learnable` in millions, without a unit."""

    @property
    def measured(self) -> str:
        """Name of the row with what it measures, for a footnote."""
        return f"{self.label}, {self.backbone}: {self.detail}"


@dataclass(frozen=True)
class Section:
    """One benchmark."""

    id: str
    title: str
    facts: tuple[tuple[str, str], ...]
    """Facts about the measurement, as name and value."""
    pitfalls: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    published: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    cells: tuple[Cell, ...]
    """The cells behind the rows, for figures and galleries."""
    runs: tuple[RunLine, ...]


@dataclass(frozen=True)
class Report:
    """Everything that a format prints."""

    sections: tuple[Section, ...]
    legend: tuple[LegendMark, ...]
    marked: int
    """Number of runs with a mark."""
    total: int
    statistics: str
    environment: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    changes: ChangeList | None
    """Changes since another report, or None if no other report was given."""


_last: tuple[Results, Report] | None = None


def build_report(results: Results) -> Report:
    """Build the report: one section per benchmark, in the order of the cells.  The reporters share the last one."""
    global _last
    if _last is None or _last[0] is not results:
        _last = results, _build_report(results)
    return _last[1]


def _build_report(results: Results) -> Report:
    results = with_names(results)
    legend = build_legend(collect_marks(results))
    names = list(dict.fromkeys(cell.benchmark for cell in results.cells))
    return Report(
        sections=tuple(
            _build_section(n, [c for c in results.cells if c.benchmark == n], legend) for n in names
        ),
        legend=tuple(legend.values()),
        marked=sum(bool(run.marks) for run in results.runs),
        total=len(results.runs),
        statistics=_describe_statistics(results),
        environment=collect_environment(results.runs),
        notes=tuple(map(clean, results.notes)),
        changes=list_changes(results, legend),
    )


def _describe_statistics(results: Results) -> str:
    return (
        "mIoU is the mean of the IoU of the fold's classes. The IoU of a class is the sum of its intersections over "
        "the sum of its unions, over all its episodes. FB-IoU is the mean of the IoU of background and foreground over "
        "all episodes. Brackets hold the 95 % interval of a bootstrap over episodes, stratified by class and "
        f"clustered by query ({format_count(results.resamples)} resamples, seed {results.bootstrap_seed}). It is "
        "shifted to the figure and scaled to its jackknife standard error. Bold marks the best mIoU of methods that "
        "share benchmark, backbone, shot, seed and protocol, and every mIoU that is not significantly worse. "
        "A method that reads more than its supports and one query competes only with methods that read the same, and a "
        f"lower bound is never the best. {_explain_pretraining(results)}{describe_significance(results)}"
    )


def _explain_pretraining(results: Results) -> str:
    """Return which methods differ in what their networks saw, or nothing."""
    names = [f"{row_title(cell)} on {cell.backbone}" for cell in results.cells]
    text = clean(explain_pretraining(results.cells, names))
    return f"{text} " if text else ""


def describe_significance(results: Results) -> str:
    """Return the meaning of `significant` in the whole report, and the rule of too few queries."""
    number = max(PAIR_RESAMPLES, results.resamples)
    return (
        "A difference is significant, here and in `fssbench compare`, if p is 5 % or less. p is the larger p value "
        f"of a paired bootstrap and of an exchange test on the same episodes ({format_count(number)} resamples or "
        f"more, seed {results.bootstrap_seed}). It is adjusted by Holm's method over its family: all pairs of methods "
        f"on one benchmark and shot{_describe_families(results)}. "
        f"With fewer than {LEAST_IN_CLASS} distinct queries in a class, or fewer than {LEAST_FREEDOM} degrees of "
        "freedom in all, there is no interval and no verdict but the words “too few queries”, with the number of "
        "queries in all and in the class with the fewest. Folds that are tested on the same episodes count them once."
    )


def _describe_families(results: Results) -> str:
    """Return how many pairs the families have, or nothing if there is no pair."""
    sizes = sorted({pair.family for pair in verdicts(results).values() if pair.family})
    if not sizes:
        return ""
    span = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return f" ({span} {'pair' if sizes == [1] else 'pairs'} each in this report)"


def _build_section(name: str, cells: list[Cell], legend: dict[str, LegendMark]) -> Section:
    columns = _list_columns(cells)
    runs = list({run.slug: run for cell in cells for run in cell.folds.values()}.values())
    title, facts, pitfalls = _describe_benchmark(_get_first_run(cells[0]))
    return Section(
        id=clean(name),
        title=title,
        facts=facts,
        pitfalls=pitfalls,
        columns=columns,
        rows=tuple(_build_row(group, columns, legend) for group in _group_rows(cells)),
        published=_build_published_rows(name, cells, columns),
        comparisons=tuple(c for cell in cells for c in compare_with_paper(cell, legend)),
        cells=tuple(cells),
        runs=tuple(describe_run(run, legend) for run in runs),
    )


def _get_first_run(cell: Cell) -> RunResult:
    return next(iter(cell.folds.values()))


def _group_rows(cells: list[Cell]) -> list[list[Cell]]:
    """Group the cells that share a row: one method with equal settings, at most one cell per shot."""
    rows: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        run = _get_first_run(cell)
        key = (
            row_title(cell),
            cell.backbone,
            run.weights,
            run.learnable,
            cell.seed,
            cell.protocol,
            run.score_size,
        )
        nth = 0
        while any(other.shot == cell.shot for other in rows.get((*key, nth), [])):
            nth += 1
        rows.setdefault((*key, nth), []).append(cell)
    return list(rows.values())


def _list_columns(cells: list[Cell]) -> tuple[Column, ...]:
    columns: list[Column] = []
    folds = sorted({f for c in cells for f in (*c.folds, *c.missing)})
    for shot in sorted({c.shot for c in cells}):
        if len(folds) > 1:
            columns += [Column(shot, str(f), f"Fold {f}") for f in folds]
        columns += [
            Column(shot, MEAN, "mIoU"),
            Column(shot, "fb", "FB-IoU"),
            Column(shot, "episodes", "Episodes"),
        ]
    return tuple(columns)


def _build_row(group: list[Cell], columns: tuple[Column, ...], legend: dict[str, LegendMark]) -> Row:
    by_shot = {cell.shot: cell for cell in group}
    run = _get_first_run(group[0])
    detail = [clean(name_weights(run)), clean(run.protocol), f"seed {run.seed}"]
    if run.score_size != "input":
        detail.append(f"scored at {clean(run.score_size)} size")
    return Row(
        label=clean(row_title(group[0])),
        backbone=clean(run.backbone),
        learnable=format_parameters(run.learnable),
        detail=", ".join(part for part in detail if part),
        entries=tuple(_build_entry(by_shot.get(column.shot), column, legend) for column in columns),
        millions=f"{run.learnable / 1e6:.2f}",
    )


def _build_entry(cell: Cell | None, column: Column, legend: dict[str, LegendMark]) -> Entry:
    if cell is None:
        return Entry(NOTHING)
    if column.key == MEAN:
        return build_mean_entry(cell, legend)
    ids = list_identities(cell)
    if column.key == "fb":
        return _print_estimate(cell.fb_iou, list_letters(cell, legend), "fb-iou", ids)
    if column.key == "episodes":
        return Entry(format_count(cell.episodes), what="episodes", runs=ids)
    return build_fold_entries(cell, (int(column.key),), legend)[0]


def build_fold_entries(
    cell: Cell, folds: tuple[int, ...], legend: dict[str, LegendMark]
) -> tuple[Entry, ...]:
    """Return the printed mIoU of some folds of a cell, with a dash for a fold without a run."""
    runs = [cell.folds.get(fold) for fold in folds]
    return tuple(
        _print_estimate(run.miou, mark_letters(run.marks, legend), "miou", (clean(run.identity)[:12],))
        if run is not None
        else Entry(NOTHING)
        for run in runs
    )


def build_mean_entry(cell: Cell, legend: dict[str, LegendMark]) -> Entry:
    """Return the printed mIoU of a cell."""
    entry = _print_estimate(cell.miou, list_letters(cell, legend), "miou", list_identities(cell))
    return replace(entry, bold=cell.best or cell.tied, tied=cell.tied)


def list_letters(cell: Cell, legend: dict[str, LegendMark]) -> str:
    """Return the letters of all marks of a cell."""
    return mark_letters(cell.marks, legend)


def list_identities(cell: Cell) -> tuple[str, ...]:
    """Return the first twelve digits of the identity of each run of a cell, by fold."""
    return tuple(clean(run.identity)[:12] for _, run in sorted(cell.folds.items()))


def _print_estimate(estimate: Estimate, marks: str, what: str, runs: tuple[str, ...]) -> Entry:
    return Entry(format_percent(estimate.value), format_interval(estimate), marks, what=what, runs=runs)


def _build_published_rows(name: str, cells: list[Cell], columns: tuple[Column, ...]) -> tuple[Row, ...]:
    """Return the paper's rows of this benchmark on our backbones, or on ResNet-50 if it has none of ours."""
    printed = find_published(name)
    backbones = {c.backbone for c in cells} & {p.backbone for p in printed} or {"resnet50"}
    rows: dict[tuple[int, str, str], list[Published]] = {}
    for p in printed:
        repeats_table1 = p.table == 6 and p.id == "pmnet"
        if p.backbone in backbones and not repeats_table1:
            rows.setdefault((p.table, p.id, p.backbone), []).append(p)
    return tuple(_build_published_row(name, numbers, columns) for numbers in rows.values())


def _build_published_row(name: str, numbers: list[Published], columns: tuple[Column, ...]) -> Row:
    by_column = {(p.shot, p.fold): p.value for p in numbers}
    first = numbers[0]
    variant, ours = first.benchmark.partition(":")[2], name.partition(":")[2]
    notes = dict.fromkeys(note for p in numbers for note in p.note.split("; ") if note)
    other = [f"variant {variant or 'not stated'}"] if variant != ours else []
    return Row(
        label=first.method,
        backbone=first.backbone,
        learnable=f"{first.learnable_millions} M" if first.learnable_millions else NOTHING,
        detail=", ".join([first.venue, f"Table {first.table}", *other]),
        entries=tuple(Entry(by_column.get((c.shot, c.key), NOTHING)) for c in columns),
        notes=tuple(notes),
        millions=first.learnable_millions or NOTHING,
    )


def find_title(cell: Cell) -> str:
    """Return the title of a cell's benchmark without its variant, or its id if the benchmark is not known.

    The title of a user's own benchmark says so and contains its id, so it is never that of a built-in one.
    """
    return _describe_benchmark(_get_first_run(cell))[0]


def _name_own_data(run: RunResult, title: str) -> str:
    """Return the title; that of a folder of the user's own says so, because its name may be any word."""
    return f"{title} (own data)" if any(mark.kind == MarkKind.OWN_DATA for mark in run.marks) else title


def _describe_benchmark(run: RunResult) -> tuple[str, tuple[tuple[str, str], ...], tuple[str, ...]]:
    try:
        resolved = find_plan_benchmark(run)
    except UsageError:  # a benchmark of a plugin that is not installed here
        return _name_own_data(run, clean(run.benchmark)), (), ()
    b = resolved.benchmark
    facts = [
        ("Category", b.category),
        ("Trained on", b.source),
        ("Tested on", f"{b.target}, split {b.split}"),
        (
            "Full size",
            f"{describe_count(b.episodes, 'episode')} per fold and shot, {describe_count(len(resolved.folds), 'fold')}",
        ),
        ("Input", f"{b.size} px; {b.resize}"),
        ("Measure", b.meter),
    ]
    if resolved.variant is not None:
        facts.insert(0, ("Variant", f"{resolved.variant.name}: {resolved.variant.title}"))
    if resolved.is_own:
        origin = (
            f"a user's own benchmark, version {b.version}, defined in a file; there are no published figures"
        )
        facts.insert(0, ("Definition", f"{origin} ({b.origin})"))
    return (
        _name_own_data(run, clean(resolved.title)),
        tuple((k, clean(v)) for k, v in facts),
        tuple(map(clean, b.pitfalls)),
    )
