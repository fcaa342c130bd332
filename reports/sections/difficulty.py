"""Tables of the numbers behind the figures of classes and strata."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fssbench.api import LegendMark, Split, Stratum, count_unknown_support_sizes, name_strata

from ..content.analysis import Analysis, describe_protocols
from ..content.breakdown import Part
from ..content.model import Entry, list_identities, list_letters
from ..content.text import NOTHING, format_count, format_interval, format_percent
from .drawings import CLASSES, select_classes

WHAT = {Split.SIZE: "size", Split.DIFFICULTY: "difficulty", Split.SUPPORT_SIZE: "support-size"}
"""Word for each way to divide episodes, in the attributes of the page."""


@dataclass(frozen=True)
class PartRow:
    """One class, or one stratum."""

    name: str
    key: int
    episodes: str
    entries: tuple[Entry, ...]
    """One entry per method."""
    classes: str = ""
    """How many classes the figures average, of how many; empty for a class."""


@dataclass(frozen=True)
class PartTable:
    """One benchmark and shot."""

    title: str
    shot: int
    what: str
    """`class`, `size`, `difficulty` or `support-size`."""
    protocol: str
    methods: tuple[str, ...]
    rows: tuple[PartRow, ...]
    left_out: int
    """Number of classes that are not shown; of strata the number of episodes without a known stratum."""


def make_class_tables(analysis: Analysis, legend: dict[str, LegendMark]) -> tuple[PartTable, ...]:
    """Make one table of IoU per class for each place with more than one class."""
    return tuple(
        _make_class_table(analysis, place, parts, legend) for place, parts in analysis.classes.items()
    )


def make_strata_tables(analysis: Analysis, legend: dict[str, LegendMark]) -> tuple[PartTable, ...]:
    """Make one table of mIoU by object size, difficulty, and object size beside the support's for each place."""
    return tuple(
        _make_strata_table(analysis, split, place, strata, legend)
        for split, places in analysis.strata.items()
        for place, strata in places.items()
    )


def _make_strata_table(
    analysis: Analysis,
    split: Split,
    where: tuple[str, int],
    strata: dict[str, tuple[Stratum, ...]],
    legend: dict[str, LegendMark],
) -> PartTable:
    place = analysis.place(*where)
    cells = {} if place is None else {m: place.cells[m] for m in strata}
    rows = []
    for key, name in enumerate(name_strata(split)):
        row = {m: parts[key] for m, parts in strata.items()}
        rows.append(
            PartRow(
                name=name,
                key=key,
                episodes=format_count(max(s.episodes for s in row.values())),
                entries=tuple(
                    Entry(
                        format_percent(s.miou.value),
                        format_interval(s.miou),
                        list_letters(cells[m], legend) if s.episodes else "",
                        what=WHAT[split],
                        runs=list_identities(cells[m]),
                    )
                    for m, s in row.items()
                ),
                classes=_describe_classes(row.values()),
            )
        )
    unknown = count_unknown_support_sizes(list(cells.values())) if split == Split.SUPPORT_SIZE else 0
    return PartTable(
        title=analysis.benchmarks[where[0]],
        shot=where[1],
        what=WHAT[split],
        protocol=describe_protocols(cells.values()),
        methods=tuple(strata),
        rows=tuple(rows),
        left_out=unknown,
    )


def _describe_classes(row: Iterable[Stratum]) -> str:
    """Return how many classes the figures of a stratum average, of how many that it has met."""
    counts = sorted({(s.classes, s.classes_met) for s in row if s.classes_met})
    return " or ".join(f"{n} of {met}" if n < met else str(n) for n, met in counts) or NOTHING


def _make_class_table(
    analysis: Analysis,
    where: tuple[str, int],
    parts: dict[str, tuple[Part, ...]],
    legend: dict[str, LegendMark],
) -> PartTable:
    place = analysis.place(*where)
    cells = {} if place is None else place.cells
    keys = select_classes(list(parts.values()), CLASSES)
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
                        what="class",
                        runs=list_identities(cells[m]),
                    )
                    for m, part in part_by_method.items()
                ),
            )
        )
    return PartTable(
        title=analysis.benchmarks[where[0]],
        shot=where[1],
        what="class",
        protocol=describe_protocols(cells.values()),
        methods=tuple(parts),
        rows=tuple(rows),
        left_out=len({p.key for parts_of_method in parts.values() for p in parts_of_method}) - len(keys),
    )
