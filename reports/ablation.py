"""Ablations as in the paper's Table 6: the whole method, then the method without one part."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from fssbench.api import Cell
from fssbench.comparing import Pair
from fssbench.matching import column_key, first_run

from .analysis import Analysis, speaks
from .comparison import compare
from .marks import Mark
from .model import Entry, figure, row_of_folds, title_of
from .pairing import Gap, gap
from .text import NOTHING, clean, thousands


@dataclass(frozen=True)
class AblationRow:
    """The method, whole or without a part."""

    label: str
    folds: tuple[Entry, ...]
    mean: Entry
    gap: Gap
    """To the whole method; empty in its own row."""
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
    """Names of the fold columns; empty where there is but one fold."""
    rows: tuple[AblationRow, ...]
    whole: bool
    """Whether the whole method was run too, so that differences can be had."""
    silent: bool
    """Whether a form with untrained weights is among them, whose difference says nothing about the part."""


def ablations(found: Analysis, legend: dict[str, Mark]) -> tuple[AblationTable, ...]:
    """One table a method and place with an ablated run."""
    groups: dict[tuple[object, ...], list[Cell]] = defaultdict(list)
    for cell in found.results.cells:
        run = first_run(cell)
        groups[column_key(run), run.method, run.backbone, run.weights].append(cell)
    return tuple(
        _table(found, cells, legend)
        for cells in groups.values()
        if any(first_run(cell).ablations for cell in cells)
    )


def _table(found: Analysis, cells: list[Cell], legend: dict[str, Mark]) -> AblationTable:
    ablated = [cell for cell in cells if first_run(cell).ablations]
    whole = _whole(cells, ablated[0])
    gaps: dict[int, Pair] = {}
    if whole is not None:
        for pair in found.compare([whole, *ablated]):
            if pair.a is whole or pair.b is whole:
                other = pair.b if pair.a is whole else pair.a
                gaps[id(other)] = pair
    shown = [*([whole] if whole is not None else []), *ablated]
    folds = tuple(sorted({fold for cell in shown for fold in (*cell.folds, *cell.missing)}))
    first = first_run(ablated[0])
    rows = []
    for cell in shown:
        own = gaps.get(id(cell))
        rows.append(
            AblationRow(
                label=clean(cell.label),
                folds=row_of_folds(cell, folds, legend) if len(folds) > 1 else (),
                mean=figure(cell, legend),
                gap=Gap("") if own is None else gap(own, 1 if own.a is cell else -1, legend),
                episodes=thousands(cell.episodes),
                paper=next((c.printed for c in compare(cell, legend) if c.fold == "mean"), NOTHING),
            )
        )
    return AblationTable(
        title=title_of(first.benchmark),
        method=clean(first.method),
        backbone=clean(first.backbone),
        shot=first.shot,
        protocol=clean(first.protocol),
        folds=folds if len(folds) > 1 else (),
        rows=tuple(rows),
        whole=whole is not None,
        silent=any(not speaks(pair) for pair in gaps.values()),
    )


def _whole(cells: list[Cell], ablated: Cell) -> Cell | None:
    """The run without ablations whose settings are nearest to those of the ablated one."""

    def far(cell: Cell) -> int:
        mine, other = (first_run(c).manifest.get("block", {}).get("config", {}) for c in (cell, ablated))
        return sum(mine.get(key) != other.get(key) for key in {*mine, *other})

    return min((c for c in cells if not first_run(c).ablations), key=far, default=None)
