"""Tables of the numbers behind the figures of classes and object sizes."""

from __future__ import annotations

from dataclasses import dataclass

from fssbench.api import LegendMark

from ..content.analysis import Analysis
from ..content.breakdown import Part
from ..content.model import Entry, list_identities, list_letters
from ..content.text import NOTHING, clean, format_count, format_interval, format_percent
from .drawings import CLASSES, select_classes


@dataclass(frozen=True)
class PartRow:
    """One class, or one bin of sizes."""

    name: str
    key: int
    episodes: str
    entries: tuple[Entry, ...]
    """One entry per method."""


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
    """Number of classes that are not shown."""


def make_class_tables(analysis: Analysis, legend: dict[str, LegendMark]) -> tuple[PartTable, ...]:
    """Make one table of IoU per class for each place with more than one class."""
    return tuple(
        _make_table(analysis, place, parts, "class", legend) for place, parts in analysis.classes.items()
    )


def make_size_tables(analysis: Analysis, legend: dict[str, LegendMark]) -> tuple[PartTable, ...]:
    """Make one table of IoU by object size for each place."""
    return tuple(
        _make_table(analysis, place, parts, "size", legend) for place, parts in analysis.sizes.items()
    )


def _make_table(
    analysis: Analysis,
    where: tuple[str, int],
    parts: dict[str, tuple[Part, ...]],
    what: str,
    legend: dict[str, LegendMark],
) -> PartTable:
    place = analysis.place(*where)
    cells = {} if place is None else place.cells
    keys = select_classes(list(parts.values()), CLASSES if what == "class" else 99)
    by_key = {name: {p.key: p for p in parts_of_method} for name, parts_of_method in parts.items()}
    rows = []
    for key, name in keys:
        part_by_method = {m: by_key[m].get(key) for m in parts}
        counts = {p.episodes for p in part_by_method.values() if p is not None}
        rows.append(
            PartRow(
                name=name,
                key=key,
                episodes=format_count(max(counts, default=0)),
                entries=tuple(
                    Entry(NOTHING)
                    if part is None
                    else Entry(
                        format_percent(part.iou.value),
                        format_interval(part.iou),
                        list_letters(cells[m], legend) if part.episodes else "",
                        what=what,
                        runs=list_identities(cells[m]),
                    )
                    for m, part in part_by_method.items()
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
        left_out=len({p.key for parts_of_method in parts.values() for p in parts_of_method}) - len(keys),
    )
