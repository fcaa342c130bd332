"""The marks of a report: they say why a figure is not a benchmark figure."""

from __future__ import annotations

from fssbench.api import Results


def collect_marks(results: Results) -> list[str]:
    """Collect every mark that occurs in a report: those of runs, of cells, and of earlier cells in changes."""
    marks: list[str] = [mark for run in results.runs for mark in run.marks]
    before = [c.before for c in results.changes.changes] if results.changes else []
    for cell in (*results.cells, *filter(None, before)):
        marks += cell.marks
    return marks
