"""The table of what changes if supports are replaced by those of another class."""

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
