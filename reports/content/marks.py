"""What keeps a number from being a benchmark number, as letters beside it and a legend."""

from __future__ import annotations

from collections.abc import Iterable

from fssbench.api import (
    MARK_MEANINGS as EXPLAINED,
    LegendMark as Mark,
    Results,
    build_legend as collect,
    mark_kind as kind,
    mark_letters as letters,
)

__all__ = ["EXPLAINED", "Mark", "all_marks", "collect", "kind", "letters", "missing_folds"]


def missing_folds(ran: Iterable[int], missing: Iterable[int]) -> tuple[str, ...]:
    """The mark of a mean over some folds only; empty where all were run."""
    left = list(missing)
    if not left:
        return ()
    return (f"folds (mean over {', '.join(map(str, sorted(ran)))}; {', '.join(map(str, left))} not run)",)


def all_marks(results: Results) -> list[str]:
    """Every mark that occurs in a report."""
    found = [m for run in results.runs for m in run.marks]
    before = [c.before for c in results.changes.changes] if results.changes else []
    for cell in (*results.cells, *filter(None, before)):
        found += [*cell.marks, *missing_folds(cell.folds, cell.missing)]
    return found
