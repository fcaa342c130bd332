"""The table of figures that `fssbench report` prints and a notebook shows: each figure with its doubt."""

from __future__ import annotations

from fssbench.analysis.row_names import row_title
from fssbench.contracts.results import Results
from fssbench.evidence import MORE_QUERIES, TOO_FEW
from fssbench.markup import format_interval

FIGURE_COLUMNS = (
    *("benchmark", "method", "backbone", "shot", "folds"),
    *("mIoU", "interval", "FB-IoU", "episodes", "marks"),
)


def list_figures(results: Results) -> list[tuple[object, ...]]:
    """List the rows of the table, one per mean over folds, columns as in `FIGURE_COLUMNS`."""
    return [
        (
            c.benchmark,
            f"{row_title(c)} *" if c.best or c.tied else row_title(c),
            c.backbone,
            c.shot,
            f"{len(c.folds)} of {len(c.folds) + len(c.missing)}",
            f"{c.miou.value:.1f}",
            c.miou.shortage or format_interval(c.miou.low, c.miou.high, ""),
            f"{c.fb_iou.value:.1f}",
            c.episodes,
            "; ".join(c.marks),
        )
        for c in results.cells
    ]


def explain_figures(results: Results) -> list[str]:
    """List what a reader of the table must know: what the star means, and why a figure has no interval."""
    notes = [
        "* marks the best method and those that are not significantly worse (Holm's p over all pairs of methods on one "
        "benchmark and shot, 5 %)"
    ]
    if any(c.miou.shortage for c in results.cells):
        notes.append(f"With {TOO_FEW} there is no interval, no best method and no verdict. {MORE_QUERIES}")
    return notes
