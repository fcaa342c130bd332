"""What changed since another report, put into words."""

from __future__ import annotations

from dataclasses import dataclass

from fssbench.api import Cell, Change, Departure, Results, change_titles

from .marks import Mark, letters
from .text import NOTHING, clean, interval, percent, signed, thousands

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
"""What the fields of an identity block are called."""
_ORDER = {"changed": 0, "added": 1, "removed": 2}


@dataclass(frozen=True)
class Figure:
    """A printed figure, before or after."""

    text: str
    interval: str = ""
    marks: str = ""
    """Letters of the legend."""
    episodes: str = ""


@dataclass(frozen=True)
class ChangeRow:
    """One cell that is not what it was."""

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
    """Of the figures shown, in points; with an interval if the episodes are the same."""
    interval: str
    verdict: str
    """What may be concluded."""
    reasons: tuple[str, ...]
    """In what the measurements differ."""


@dataclass(frozen=True)
class ChangeList:
    """All changes since another report."""

    against: str
    summary: str
    rows: tuple[ChangeRow, ...]


def change_list(results: Results, legend: dict[str, Mark]) -> ChangeList | None:
    """Put the changes into words; None if no other report was given."""
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
        rows=tuple(_row(change, title, legend) for change, title in rows),
    )


def _row(change: Change, title: str, legend: dict[str, Mark]) -> ChangeRow:
    cell = change.after or change.before
    assert cell is not None
    difference = bracket = ""
    if change.before and change.after:
        difference = signed(change.after.miou.value - change.before.miou.value)
        bracket = interval(change.paired) if change.paired else ""
    return ChangeRow(
        kind=change.kind,
        benchmark=clean(cell.benchmark),
        label=clean(title),
        backbone=clean(cell.backbone),
        shot=cell.shot,
        detail=f"{clean(cell.protocol)}, seed {cell.seed}",
        before=_figure(change.before, legend),
        after=_figure(change.after, legend),
        difference=difference,
        interval=bracket,
        verdict=_verdict(change),
        reasons=tuple(map(_reason, change.departures)),
    )


def _figure(cell: Cell | None, legend: dict[str, Mark]) -> Figure:
    if cell is None:
        return Figure(NOTHING)
    marks = letters(cell.marks, legend)
    return Figure(percent(cell.miou.value), interval(cell.miou), marks, thousands(cell.episodes))


def _verdict(change: Change) -> str:
    if change.kind != "changed":
        return ""
    if change.unpaired:
        return f"the episodes differ, so the difference has no interval: {clean(change.unpaired)}"
    assert change.paired is not None
    shared = f"paired on {thousands(change.episodes)} episodes that both have counted"
    if change.significant is None:
        return f"{shared}; no verdict" + (f": {change.paired.shortage}" if change.paired.shortage else "")
    if change.paired.value == 0 and change.paired.low == change.paired.high == 0:
        return f"{shared}; equal on these"
    return f"{shared}; {'significant' if change.significant else 'not significant'} (Holm's p, 5 %)"


def _reason(departure: Departure) -> str:
    name = _NAMES.get(departure.name, clean(departure.name).removeprefix("context."))
    folds = f" (folds {', '.join(map(str, departure.folds))})" if len(departure.folds) > 1 else ""
    return f"{name}: {_short(departure.before)} → {_short(departure.after)}{folds}"


def _short(value: str) -> str:
    """A value, or the first digits of a hash."""
    text = clean(value) or "none"
    if len(text) == 64 and set(text) <= set("0123456789abcdef"):
        return text[:12]
    return text if len(text) <= 60 else f"{text[:59]}…"
