"""The presentation model: what every renderer writes, with numbers already put into words.

`build` turns the table model (`fssbench.api.Results`) into sections, rows and entries.  All text in
it is clean (`text.clean`) and not yet escaped: escaping belongs to the format.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fssbench.api import (
    LEAST_FREEDOM,
    LEAST_IN_CLASS,
    PAIR_RESAMPLES,
    Cell,
    Estimate,
    Results,
    RunResult,
    UsageError,
    find_benchmark,
    row_title,
    verdicts,
    with_names,
)

from .changes import ChangeList, change_list
from .comparison import Comparison, compare
from .marks import Mark, all_marks, collect, letters
from .provenance import RunLine, environment, run_line
from .published import MEAN, Published, lookup
from .text import NOTHING, clean, interval, millions, percent, thousands


@dataclass(frozen=True)
class Column:
    """One column of a section: a fold, the mean over folds, FB-IoU or the episode count of a shot."""

    shot: int
    key: str
    """`0`, `1`, ... for folds, `mean`, `fb`, `episodes`."""
    name: str


@dataclass(frozen=True)
class Entry:
    """One printed number."""

    text: str
    interval: str = ""
    marks: str = ""
    """Letters of the legend."""
    bold: bool = False
    """Best of its column, or not significantly worse than the best."""
    what: str = ""
    """`miou`, `fb-iou` or `episodes` if the number is ours."""
    runs: tuple[str, ...] = ()
    """First twelve digits of the identities of the runs that it comes from."""
    tied: bool = False
    """Bold without being the best."""


@dataclass(frozen=True)
class Row:
    """One method with one backbone, ours or the paper's."""

    label: str
    backbone: str
    learnable: str
    detail: str
    """Ours: weights, protocol, seed.  The paper's: venue, table, and its variant if it differs."""
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
    """What is odd about a published row."""
    millions: str = NOTHING
    """`learnable` as a bare number of millions."""

    @property
    def measured(self) -> str:
        """The row's name with what it measures, as a footnote says it."""
        return f"{self.label}, {self.backbone}: {self.detail}"


@dataclass(frozen=True)
class Section:
    """One benchmark."""

    id: str
    title: str
    facts: tuple[tuple[str, str], ...]
    """What is measured, as name and value."""
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
    """Everything a renderer prints."""

    sections: tuple[Section, ...]
    legend: tuple[Mark, ...]
    marked: int
    """Runs that carry a mark."""
    total: int
    statistics: str
    environment: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    changes: ChangeList | None
    """What changed since another report, if one was given to compare with."""


def build(results: Results) -> Report:
    """Put results into sections, one per benchmark, in the order of the cells."""
    results = with_names(results)
    legend = collect(all_marks(results))
    names = list(dict.fromkeys(cell.benchmark for cell in results.cells))
    return Report(
        sections=tuple(_section(n, [c for c in results.cells if c.benchmark == n], legend) for n in names),
        legend=tuple(legend.values()),
        marked=sum(bool(run.marks) for run in results.runs),
        total=len(results.runs),
        statistics=_statistics(results),
        environment=environment(results.runs),
        notes=tuple(map(clean, results.notes)),
        changes=change_list(results, legend),
    )


def _statistics(results: Results) -> str:
    return (
        "mIoU is the mean of the IoU of the fold's classes. The IoU of a class is the sum of its intersections over "
        "the sum of its unions, over all its episodes. FB-IoU is the mean of the IoU of background and foreground over "
        "all episodes. Brackets hold the 95 % interval of a bootstrap over episodes, stratified by class and "
        f"clustered by query ({thousands(results.resamples)} resamples, seed {results.bootstrap_seed}). It is shifted "
        "to the figure and scaled to its jackknife standard error. Bold marks the best mIoU of methods that share "
        "benchmark, backbone, shot, seed and protocol, and every mIoU that is not significantly worse. "
        f"{meaning(results)}"
    )


def meaning(results: Results) -> str:
    """What `significantly` means everywhere in a report, and when there is no verdict."""
    number = max(PAIR_RESAMPLES, results.resamples)
    return (
        "A difference is significant, here and in `fssbench compare`, if p is 5 % or less. p is the larger p value "
        f"of a paired bootstrap and of an exchange test on the same episodes ({thousands(number)} resamples or more, "
        f"seed {results.bootstrap_seed}). It is adjusted by Holm's method over its family: all pairs of methods on one "
        f"benchmark and shot{_families(results)}. "
        f"With fewer than {LEAST_IN_CLASS} distinct queries in a class, or fewer than {LEAST_FREEDOM} degrees of "
        "freedom in all, there is no interval and no verdict but the words “too few queries”, with the number of "
        "queries in all and in the class with the fewest. Folds that are tested on the same episodes count them once."
    )


def _families(results: Results) -> str:
    """State how many pairs the families have, if there are any."""
    sizes = sorted({pair.family for pair in verdicts(results).values() if pair.family})
    if not sizes:
        return ""
    span = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return f" ({span} {'pair' if sizes == [1] else 'pairs'} each in this report)"


def _section(name: str, cells: list[Cell], legend: dict[str, Mark]) -> Section:
    columns = _columns(cells)
    runs = list({run.slug: run for cell in cells for run in cell.folds.values()}.values())
    title, facts, pitfalls = _about(name)
    return Section(
        id=clean(name),
        title=title,
        facts=facts,
        pitfalls=pitfalls,
        columns=columns,
        rows=tuple(_row(group, columns, legend) for group in _grouped(cells)),
        published=_published(name, cells, columns),
        comparisons=tuple(c for cell in cells for c in compare(cell, legend)),
        cells=tuple(cells),
        runs=tuple(run_line(run, legend) for run in runs),
    )


def _first(cell: Cell) -> RunResult:
    return next(iter(cell.folds.values()))


def _grouped(cells: list[Cell]) -> list[list[Cell]]:
    """Cells of one row: one method as it was run, at most one per shot."""
    rows: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        run = _first(cell)
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


def _columns(cells: list[Cell]) -> tuple[Column, ...]:
    out: list[Column] = []
    folds = sorted({f for c in cells for f in (*c.folds, *c.missing)})
    for shot in sorted({c.shot for c in cells}):
        if len(folds) > 1:
            out += [Column(shot, str(f), f"Fold {f}") for f in folds]
        out += [
            Column(shot, MEAN, "mIoU"),
            Column(shot, "fb", "FB-IoU"),
            Column(shot, "episodes", "Episodes"),
        ]
    return tuple(out)


def _row(group: list[Cell], columns: tuple[Column, ...], legend: dict[str, Mark]) -> Row:
    by_shot = {cell.shot: cell for cell in group}
    run = _first(group[0])
    detail = [clean(run.weights), clean(run.protocol), f"seed {run.seed}"]
    if run.score_size != "input":
        detail.append(f"scored at {clean(run.score_size)} size")
    return Row(
        label=clean(row_title(group[0])),
        backbone=clean(run.backbone),
        learnable=millions(run.learnable),
        detail=", ".join(part for part in detail if part),
        entries=tuple(_entry(by_shot.get(column.shot), column, legend) for column in columns),
        millions=f"{run.learnable / 1e6:.2f}",
    )


def _entry(cell: Cell | None, column: Column, legend: dict[str, Mark]) -> Entry:
    if cell is None:
        return Entry(NOTHING)
    if column.key == MEAN:
        return figure(cell, legend)
    ids = identities(cell)
    if column.key == "fb":
        return _figure(cell.fb_iou, cell_letters(cell, legend), "fb-iou", ids)
    if column.key == "episodes":
        return Entry(thousands(cell.episodes), what="episodes", runs=ids)
    return row_of_folds(cell, (int(column.key),), legend)[0]


def row_of_folds(cell: Cell, folds: tuple[int, ...], legend: dict[str, Mark]) -> tuple[Entry, ...]:
    """Return the printed mIoU of some folds of a cell; a dash for a fold without a run."""
    runs = [cell.folds.get(fold) for fold in folds]
    return tuple(
        _figure(run.miou, letters(run.marks, legend), "miou", (clean(run.identity)[:12],))
        if run is not None
        else Entry(NOTHING)
        for run in runs
    )


def figure(cell: Cell, legend: dict[str, Mark]) -> Entry:
    """Return the printed mIoU of a cell."""
    entry = _figure(cell.miou, cell_letters(cell, legend), "miou", identities(cell))
    return replace(entry, bold=cell.best or cell.tied, tied=cell.tied)


def cell_letters(cell: Cell, legend: dict[str, Mark]) -> str:
    """Letters of everything that keeps a cell from being a benchmark number."""
    return letters(cell.marks, legend)


def identities(cell: Cell) -> tuple[str, ...]:
    """First twelve digits of the identity of each of a cell's runs, by fold."""
    return tuple(clean(run.identity)[:12] for _, run in sorted(cell.folds.items()))


def _figure(estimate: Estimate, marks: str, what: str, runs: tuple[str, ...]) -> Entry:
    return Entry(percent(estimate.value), interval(estimate), marks, what=what, runs=runs)


def _published(name: str, cells: list[Cell], columns: tuple[Column, ...]) -> tuple[Row, ...]:
    """The paper's rows of this benchmark: those of our backbones, or of ResNet-50 if it has none."""
    printed = lookup(name)
    backbones = {c.backbone for c in cells} & {p.backbone for p in printed} or {"resnet50"}
    rows: dict[tuple[int, str, str], list[Published]] = {}
    for p in printed:
        repeats_table1 = p.table == 6 and p.id == "pmnet"
        if p.backbone in backbones and not repeats_table1:
            rows.setdefault((p.table, p.id, p.backbone), []).append(p)
    return tuple(_published_row(name, numbers, columns) for numbers in rows.values())


def _published_row(name: str, numbers: list[Published], columns: tuple[Column, ...]) -> Row:
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


def title_of(name: str) -> str:
    """A benchmark's title without its variant; its id if it is not known here.

    Example:
        >>> title_of("pascal-to-isic2018:isic1")
        'PASCAL to ISIC2018'
    """
    return _about(name)[0]


def _count_folds(number: int) -> str:
    return "1 fold" if number == 1 else f"{number} folds"


def _about(name: str) -> tuple[str, tuple[tuple[str, str], ...], tuple[str, ...]]:
    try:
        resolved = find_benchmark(name)
    except UsageError:  # a benchmark of a plugin that is not installed here
        return clean(name), (), ()
    b = resolved.benchmark
    facts = [
        ("Category", b.category),
        ("Trained on", b.source),
        ("Tested on", f"{b.target}, split {b.split}"),
        (
            "Full size",
            f"{thousands(b.episodes)} episodes per fold and shot, {_count_folds(len(resolved.folds))}",
        ),
        ("Input", f"{b.size} px; {b.resize}"),
        ("Measure", b.meter),
    ]
    if resolved.variant is not None:
        facts.insert(0, ("Variant", f"{resolved.variant.name}: {resolved.variant.title}"))
    return clean(b.title), tuple((k, clean(v)) for k, v in facts), tuple(map(clean, b.pitfalls))
