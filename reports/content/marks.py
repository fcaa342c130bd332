"""What keeps a number from being a benchmark number, as letters beside it and a legend."""

from __future__ import annotations

from fssbench.api import (
    MARK_MEANINGS as EXPLAINED,
    LegendMark as Mark,
    Results,
    build_legend as collect,
    mark_kind as kind,
    mark_letters as letters,
)

__all__ = ["EXPLAINED", "Mark", "all_marks", "collect", "kind", "letters"]


def all_marks(results: Results) -> list[str]:
    """Every mark that occurs in a report."""
    marks: list[str] = [mark for run in results.runs for mark in run.marks]
    before = [c.before for c in results.changes.changes] if results.changes else []
    for cell in (*results.cells, *filter(None, before)):
        marks += cell.marks
    return marks
