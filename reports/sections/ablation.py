"""Ablations as in Table 6 of the paper: the whole method, then the method without one part."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from fssbench.api import (
    Cell,
    LegendMark,
    Pair,
    column_key,
    differs,
    first_run,
    method_marks,
    program_key,
    row_title,
    training_of,
    turn_pair,
)

from ..content.analysis import Analysis, is_trained
from ..content.comparison import compare_with_paper
from ..content.model import Entry, build_fold_entries, build_mean_entry, find_title
from ..content.text import NOTHING, clean, format_count
from .pairing import Gap, describe_gap


@dataclass(frozen=True)
class AblationRow:
    """The whole method, or one ablation of it."""

    label: str
    folds: tuple[Entry, ...]
    mean: Entry
    gap: Gap
    """Difference from the whole method.  Empty in the row of the whole method."""
    episodes: str
    paper: str
    """The printed mean of the same form of the method, or a dash."""


@dataclass(frozen=True)
class AblationTable:
    """One method with one backbone on one benchmark and shot."""

    title: str
    method: str
    backbone: str
    shot: int
    protocol: str
    folds: tuple[int, ...]
    """Folds of the columns.  Empty if there is only one fold."""
    rows: tuple[AblationRow, ...]
    whole: bool
    """Whether the whole method was run too, so that there are differences."""
    silent: bool
    """Whether a compared form is untrained.  Its difference says nothing about the part."""


def make_ablation_tables(analysis: Analysis, legend: dict[str, LegendMark]) -> tuple[AblationTable, ...]:
    """Make one table per method and place with an ablated run."""
    groups: dict[tuple[object, ...], list[Cell]] = defaultdict(list)
    for cell in analysis.results.cells:
        run = first_run(cell)
        groups[column_key(run), program_key(run)].append(cell)
    return tuple(
        _make_table(analysis, cells, legend)
        for cells in groups.values()
        if any(first_run(cell).ablations for cell in cells)
    )


def _make_table(analysis: Analysis, cells: list[Cell], legend: dict[str, LegendMark]) -> AblationTable:
    ablated = [cell for cell in cells if first_run(cell).ablations]
    whole_by_cell = {id(cell): _find_whole(cells, cell) for cell in ablated}
    whole_cells = list({id(whole): whole for whole in whole_by_cell.values() if whole is not None}.values())
    shown_cells = [*whole_cells, *ablated]
    gaps: dict[int, Pair] = {}
    for pair in analysis.compare(shown_cells) if whole_cells else ():
        for cell, other in ((pair.a, pair.b), (pair.b, pair.a)):
            if whole_by_cell.get(id(cell)) is other:
                gaps[id(cell)] = pair
    folds = tuple(sorted({fold for cell in shown_cells for fold in (*cell.folds, *cell.missing)}))
    first = first_run(ablated[0])
    rows = []
    for cell in shown_cells:
        own_pair = gaps.get(id(cell))
        rows.append(
            AblationRow(
                label=clean(row_title(cell)),
                folds=build_fold_entries(cell, folds, legend) if len(folds) > 1 else (),
                mean=build_mean_entry(cell, legend),
                gap=Gap("")
                if own_pair is None
                else describe_gap(own_pair if own_pair.a is cell else turn_pair(own_pair), legend),
                episodes=format_count(cell.episodes),
                paper=next(
                    (c.printed for c in compare_with_paper(cell, legend) if c.fold == "mean"), NOTHING
                ),
            )
        )
    return AblationTable(
        title=find_title(ablated[0]),
        method=clean(first.method),
        backbone=clean(first.backbone),
        shot=first.shot,
        protocol=clean(first.protocol),
        folds=folds if len(folds) > 1 else (),
        rows=tuple(rows),
        whole=bool(whole_cells),
        silent=any(not is_trained(pair) for pair in gaps.values()),
    )


def _find_whole(cells: list[Cell], ablated: Cell) -> Cell | None:
    """Find the row without ablations that is nearest: first by data, then settings, marks and training."""
    run = first_run(ablated)

    def measure_distance(cell: Cell) -> tuple[int, ...]:
        other = first_run(cell)
        settings, other_settings = (each.manifest.block.config for each in (run, other))
        return (
            bool(differs(cell, ablated)),
            sum(settings.get(key) != other_settings.get(key) for key in {*settings, *other_settings}),
            method_marks(run) != method_marks(other),
            training_of(run) != training_of(other),
            len(cell.missing),
        )

    return min((c for c in cells if not first_run(c).ablations), key=measure_distance, default=None)
