"""The numbers behind the figures of classes and object sizes, as tables."""

from __future__ import annotations

from dataclasses import dataclass

from ..content.analysis import Analysis
from ..content.breakdown import Part
from ..content.marks import Mark
from ..content.model import Entry, cell_letters, identities
from ..content.text import NOTHING, clean, interval, percent, thousands
from .drawings import CLASSES, picked


@dataclass(frozen=True)
class PartRow:
    """One class or one bin of sizes."""

    name: str
    key: int
    episodes: str
    entries: tuple[Entry, ...]
    """One per method."""


@dataclass(frozen=True)
class PartTable:
    """One benchmark and shot."""

    title: str
    shot: int
    what: str
    """`class` or `size`."""
    protocol: str
    methods: tuple[str, ...]
    rows: tuple[PartRow, ...]
    left_out: int
    """Classes that are not shown."""


def class_tables(analysis: Analysis, legend: dict[str, Mark]) -> tuple[PartTable, ...]:
    """IoU per class of each place with more than one."""
    return tuple(_table(analysis, place, parts, "class", legend) for place, parts in analysis.classes.items())


def size_tables(analysis: Analysis, legend: dict[str, Mark]) -> tuple[PartTable, ...]:
    """IoU by object size of each place."""
    return tuple(_table(analysis, place, parts, "size", legend) for place, parts in analysis.sizes.items())


def _table(
    analysis: Analysis,
    where: tuple[str, int],
    parts: dict[str, tuple[Part, ...]],
    what: str,
    legend: dict[str, Mark],
) -> PartTable:
    place = analysis.place(*where)
    cells = {} if place is None else place.cells
    keys = picked(list(parts.values()), CLASSES if what == "class" else 99)
    by_key = {name: {p.key: p for p in mine} for name, mine in parts.items()}
    rows = []
    for key, name in keys:
        here = {m: by_key[m].get(key) for m in parts}
        counts = {p.episodes for p in here.values() if p is not None}
        rows.append(
            PartRow(
                name=name,
                key=key,
                episodes=thousands(max(counts, default=0)),
                entries=tuple(
                    Entry(NOTHING)
                    if part is None
                    else Entry(
                        percent(part.iou.value),
                        interval(part.iou),
                        cell_letters(cells[m], legend) if part.episodes else "",
                        what=what,
                        runs=identities(cells[m]),
                    )
                    for m, part in here.items()
                ),
            )
        )
    return PartTable(
        title=analysis.benchmarks[where[0]],
        shot=where[1],
        what=what,
        protocol=", ".join(sorted({clean(c.protocol) for c in cells.values()})),
        methods=tuple(parts),
        rows=tuple(rows),
        left_out=len({p.key for mine in parts.values() for p in mine}) - len(keys),
    )
