"""The summary table and the tables of paired comparisons, as they are printed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fssbench.api import LegendMark, Pair, format_p, turn_pair

from ..content.analysis import Analysis, counts_as_evidence
from ..content.model import Entry, build_mean_entry, list_identities, list_letters
from ..content.text import NOTHING, format_difference, format_difference_interval, format_span


@dataclass(frozen=True)
class OverviewRow:
    """One benchmark and shot."""

    benchmark: str
    shot: int
    episodes: str
    entries: tuple[Entry, ...]
    """One entry per method."""


@dataclass(frozen=True)
class Gap:
    """Difference between two methods: the row's method minus the column's method."""

    text: str
    interval: str = ""
    p: str = ""
    verdict: str = ""
    """`win`, `loss` or `tie`.

    Empty if no episodes are shared, if there are too few queries, or if a method has random weights."""
    marks: str = ""
    a: tuple[str, ...] = ()
    """Identities of the row's runs."""
    b: tuple[str, ...] = ()
    """Identities of the column's runs."""


@dataclass(frozen=True)
class Matrix:
    """All pairs of one benchmark and shot."""

    title: str
    shot: int
    episodes: str
    methods: tuple[str, ...]
    rows: tuple[tuple[Gap, ...], ...]


def make_overview(analysis: Analysis, legend: dict[str, LegendMark]) -> tuple[OverviewRow, ...]:
    """Return the mIoU of every method at every place."""
    return tuple(
        OverviewRow(
            benchmark=analysis.benchmarks[place.benchmark],
            shot=place.shot,
            episodes=format_span([cell.episodes for cell in place.cells.values()]),
            entries=tuple(
                build_mean_entry(place.cells[name], legend) if name in place.cells else Entry(NOTHING)
                for name in analysis.methods
            ),
        )
        for place in analysis.places
    )


def make_matrices(analysis: Analysis, legend: dict[str, LegendMark]) -> tuple[Matrix, ...]:
    """Return one matrix per place with a pair.  It shows the methods that figures show."""
    matrices = []
    for place in analysis.places:
        pairs = {
            (analysis.name(p.a), analysis.name(p.b)): p for p in analysis.pairs[place.benchmark, place.shot]
        }
        names = tuple(n for n in analysis.methods_in_figures if n in place.cells)
        if not pairs or len(names) < 2:
            continue
        matrices.append(
            Matrix(
                title=analysis.benchmarks[place.benchmark],
                shot=place.shot,
                episodes=format_span([p.episodes for p in pairs.values()]),
                methods=names,
                rows=tuple(tuple(_find_gap(a, b, pairs, legend) for b in names) for a in names),
            )
        )
    return tuple(matrices)


def _find_gap(a: str, b: str, pairs: dict[tuple[str, str], Pair], legend: dict[str, LegendMark]) -> Gap:
    if (a, b) in pairs:
        return describe_gap(pairs[a, b], legend)
    if (b, a) in pairs:
        return describe_gap(turn_pair(pairs[b, a]), legend)
    return Gap(NOTHING if a != b else "")


def describe_gap(pair: Pair, legend: dict[str, LegendMark]) -> Gap:
    """Return a pair in words: its method A minus its method B."""
    d = pair.difference
    marks = list_letters(pair.a, legend) + list_letters(pair.b, legend)
    return Gap(
        text=format_difference(d.value),
        interval=format_difference_interval(d.low, d.high, d.shortage),
        p=format_p_value(pair.adjusted),
        verdict=pair.outcome if counts_as_evidence(pair) else "",
        marks="".join(dict.fromkeys(marks)),
        a=list_identities(pair.a),
        b=list_identities(pair.b),
    )


def format_p_value(p: float) -> str:
    """Return a p value with three decimals.  A small one is given as a bound.

    Example:
        >>> format_p_value(0.0004), format_p_value(0.25)
        ('p<0.001', 'p=0.250')
    """
    if not math.isfinite(p):
        return ""
    text = format_p(p)
    return f"p{text}" if text.startswith("<") else f"p={text}"
