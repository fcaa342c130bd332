"""The tables about supports: what changes with those of another class, and how much their choice moves a figure."""

from __future__ import annotations

from dataclasses import dataclass

from fssbench.api import Dependence, LegendMark

from ..content.analysis import Analysis
from ..content.model import Entry, list_identities, list_letters
from ..content.text import (
    clean,
    format_count,
    format_difference,
    format_difference_interval,
    format_interval,
    format_percent,
)


@dataclass(frozen=True)
class SensitivityLine:
    """One method on one benchmark and shot."""

    benchmark: str
    shot: int
    method: str
    episodes: str
    replaced_by: str
    changed: Entry
    miou: Entry
    other_miou: Entry
    difference: str
    interval: str
    verdict: str
    doubtful: bool
    """Whether the answers are not shown to depend on the supports."""


def make_sensitivity_lines(analysis: Analysis, legend: dict[str, LegendMark]) -> tuple[SensitivityLine, ...]:
    """Make one line per cell whose episodes were asked again with other supports."""
    lines = []
    for each in analysis.sensitivity:
        letters, runs = list_letters(each.cell, legend), list_identities(each.cell)
        changed, miou, other = (
            Entry(format_percent(e.value), format_interval(e), letters, what=what, runs=runs)
            for e, what in (
                (each.changed, "changed"),
                (each.miou, "probed-miou"),
                (each.other_miou, "other-miou"),
            )
        )
        gap = each.difference
        lines.append(
            SensitivityLine(
                benchmark=analysis.benchmarks.get(each.cell.benchmark, clean(each.cell.benchmark)),
                shot=each.cell.shot,
                method=analysis.name(each.cell),
                episodes=format_count(each.episodes),
                replaced_by=each.replaced_by,
                changed=changed,
                miou=miou,
                other_miou=other,
                difference=format_difference(gap.value),
                interval=gap.shortage or format_difference_interval(gap.low, gap.high),
                verdict=str(each.dependence),
                doubtful=each.dependence != Dependence.DEPENDS,
            )
        )
    return tuple(lines)


@dataclass(frozen=True)
class SupportChoiceLine:
    """One method on one benchmark and shot, with several support sets per query."""

    benchmark: str
    shot: int
    method: str
    sets: int
    queries: str
    miou: Entry
    query_error: str
    support_error: str
    share: str
    half_width: Entry


def make_support_choice_lines(
    analysis: Analysis, legend: dict[str, LegendMark]
) -> tuple[SupportChoiceLine, ...]:
    """Make one line per cell with several support sets per query."""
    lines = []
    for each in analysis.support_choices:
        letters, runs = list_letters(each.cell, legend), list_identities(each.cell)
        miou, width = (
            Entry(format_percent(e.value, digits), format_interval(e, digits), letters, what=what, runs=runs)
            for e, what, digits in ((each.cell.miou, "miou", 1), (each.half_width, "half-width", 2))
        )
        lines.append(
            SupportChoiceLine(
                benchmark=analysis.benchmarks.get(each.cell.benchmark, clean(each.cell.benchmark)),
                shot=each.cell.shot,
                method=analysis.name(each.cell),
                sets=each.sets,
                queries=format_count(each.queries),
                miou=miou,
                query_error=format_percent(each.query_error, 2),
                support_error=format_percent(each.support_error, 2),
                share=format_percent(each.support_share, 0),
                half_width=width,
            )
        )
    return tuple(lines)
