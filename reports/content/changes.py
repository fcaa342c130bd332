"""Describes in words what changed since another report."""

from __future__ import annotations

from dataclasses import dataclass

from fssbench.api import (
    Cell,
    Change,
    Departure,
    LegendMark,
    Results,
    change_titles,
    describe_count,
    mark_letters,
)

from .text import NOTHING, clean, format_difference, format_interval, format_percent

_NAMES = {
    "benchmark_version": "benchmark version",
    "data_sha256": "data",
    "distributions": "versions of the packages the method imports",
    "engine": "evaluation rules",
    "episodes": "planned episodes",
    "episodes_sha256": "episode set",
    "head_sha256": "checkpoint (the method's weights)",
    "lists": "split lists",
    "method_version": "method version",
    "reader_sha256": "source of the data set reader",
    "size": "input size",
    "source_sha256": "source of the method",
    "backbone_source_sha256": "source of the backbone",
    "weights_sha256": "weights of the backbone",
}
"""Names of the fields of an identity, as they are printed."""
_ORDER = {"changed": 0, "added": 1, "removed": 2}


@dataclass(frozen=True)
class Figure:
    """A printed figure, before or after the change."""

    text: str
    interval: str = ""
    marks: str = ""
    """Letters of the legend."""
    episodes: str = ""


@dataclass(frozen=True)
class ChangeRow:
    """One cell that is new, missing or changed."""

    kind: str
    """`changed`, `added` or `removed`."""
    benchmark: str
    label: str
    backbone: str
    shot: int
    detail: str
    """Protocol and seed."""
    before: Figure
    after: Figure
    difference: str
    """Difference of the printed figures in points."""
    interval: str
    """Interval of the difference if the episodes are the same, else empty."""
    verdict: str
    """Conclusion about the difference."""
    reasons: tuple[str, ...]
    """Facts in which the two measurements differ."""


@dataclass(frozen=True)
class ChangeList:
    """All changes since another report."""

    against: str
    summary: str
    rows: tuple[ChangeRow, ...]


def list_changes(results: Results, legend: dict[str, LegendMark]) -> ChangeList | None:
    """Return the changes in words, or None if no other report was given."""
    if results.changes is None:
        return None
    titles = change_titles(results.changes)
    titled = zip(results.changes.changes, titles, strict=True)
    rows = sorted(titled, key=lambda each: _ORDER[each[0].kind])
    counts = {kind: sum(change.kind == kind for change, _ in rows) for kind in _ORDER}
    return ChangeList(
        against=clean(results.changes.against),
        summary=", ".join(
            [*(f"{count} {kind}" for kind, count in counts.items()), f"{results.changes.unchanged} unchanged"]
        ),
        rows=tuple(_make_row(change, title, legend) for change, title in rows),
    )


def _make_row(change: Change, title: str, legend: dict[str, LegendMark]) -> ChangeRow:
    cell = change.after or change.before
    assert cell is not None
    difference = bracket = ""
    if change.before and change.after:
        difference = format_difference(change.after.miou.value - change.before.miou.value)
        bracket = format_interval(change.paired) if change.paired else ""
    return ChangeRow(
        kind=change.kind,
        benchmark=clean(cell.benchmark),
        label=clean(title),
        backbone=clean(cell.backbone),
        shot=cell.shot,
        detail=f"{clean(cell.protocol)}, seed {cell.seed}",
        before=_make_figure(change.before, legend),
        after=_make_figure(change.after, legend),
        difference=difference,
        interval=bracket,
        verdict=_describe_verdict(change),
        reasons=tuple(map(_describe_departure, change.departures)),
    )


def _make_figure(cell: Cell | None, legend: dict[str, LegendMark]) -> Figure:
    if cell is None:
        return Figure(NOTHING)
    marks = mark_letters(cell.marks, legend)
    return Figure(
        format_percent(cell.miou.value),
        format_interval(cell.miou),
        marks,
        describe_count(cell.episodes, "episode"),
    )


def _describe_verdict(change: Change) -> str:
    if change.kind != "changed":
        return ""
    if change.unpaired:
        return f"the episodes differ, so the difference has no interval: {clean(change.unpaired)}"
    assert change.paired is not None
    shared = f"paired on {describe_count(change.episodes, 'episode')} that both have counted"
    if change.significant is None:
        return f"{shared}; no verdict" + (f": {change.paired.shortage}" if change.paired.shortage else "")
    if change.paired.value == 0 and change.paired.low == change.paired.high == 0:
        return f"{shared}; equal on these"
    return f"{shared}; {'significant' if change.significant else 'not significant'} (Holm's p, 5 %)"


def _describe_departure(departure: Departure) -> str:
    name = _NAMES.get(departure.name, clean(departure.name).removeprefix("context."))
    folds = f" (folds {', '.join(map(str, departure.folds))})" if len(departure.folds) > 1 else ""
    return f"{name}: {_shorten(departure.before)} → {_shorten(departure.after)}{folds}"


def _shorten(value: str) -> str:
    """Return a value, cut to 60 characters.  Of a hash return the first 12 digits."""
    text = clean(value) or "none"
    if len(text) == 64 and set(text) <= set("0123456789abcdef"):
        return text[:12]
    return text if len(text) <= 60 else f"{text[:59]}…"
