"""The tables `results` and `episodes`, which CSV and Parquet files hold.

They are the tables of `fssbench.results`.  `results` contains means and runs, and the paper's figures beside the
means.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fssbench.api import (
    MEAN_COLUMNS,
    RUN_COLUMNS,
    Cell,
    Column,
    Results,
    build_legend,
    make_mean_table,
    make_run_table,
    with_names,
)

from .comparison import compare_with_paper
from .published import MEAN
from .text import clean

if TYPE_CHECKING:
    from pandas import DataFrame

_COLUMNS = {
    **{column.name: column for column in (*MEAN_COLUMNS, *RUN_COLUMNS)},
    "row": Column("row", "text", "", "`mean` for a mean over folds, `run` for a run"),
    "fold": Column("fold", "text", "", "`mean`, or the fold of a run"),
    "run": Column("run", "text", "", "names of the runs' folders, joined by spaces"),
    "paper_miou": Column(
        "paper_miou", "number", "%", "mIoU that the paper prints for the method, if it does"
    ),
    "same_as_paper": Column(
        "same_as_paper",
        "flag",
        "",
        "whether nothing is known that makes it another measurement than the paper's",
    ),
}
# fmt: off
_ORDER = (
    "row", "benchmark", "method", "label", "name", "ablations", "backbone", "weights", "protocol", "score_size",
    "seed", "shot", "fold", "miou", "miou_low", "miou_high", "fb_iou", "fb_iou_low", "fb_iou_high", "episodes",
    "planned", "queries", "fewest_queries_in_a_class", "too_few_queries", "learnable", "parameters",
    "seconds_per_episode", "best", "tied", "marks", "absent_classes", "paper_miou", "same_as_paper", "identity",
    "plan_sha256", "run", "resamples", "bootstrap_seed", "status", "absent_rule", "no_interval", "folds",
    "missing_folds", "pretraining",
)
# fmt: on
"""Programs may count columns, so a new one comes last."""
RESULT_COLUMNS: tuple[Column, ...] = tuple(_COLUMNS[name] for name in _ORDER)
"""Columns of `results`.  A field is empty on a row that has no value for it.  A flag is 1 or 0."""


def make_results_table(results: Results, edit_text: Callable[[str], str] = clean) -> DataFrame:
    """Make the table `results`: first one row per mean over folds, then one row per run.

    Args:
        results: the table model.
        edit_text: function that is applied to every text, such as a guard against formulas in spreadsheets.
    """
    from pandas import DataFrame

    edit_once = cache(edit_text)
    parts = [(len(table), table.to_dict("list")) for table in _make_tables(results)]
    columns = {}
    for column in RESULT_COLUMNS:
        values = [value for rows, part in parts for value in part.get(column.name, [None] * rows)]
        columns[column.name] = _prepare_for_file(column, values, edit_once)
    return DataFrame(columns)


_last: tuple[Results, tuple[DataFrame, DataFrame]] | None = None


def _make_tables(results: Results) -> tuple[DataFrame, DataFrame]:
    """Make the tables of means and of runs with the columns of both; the reporters of one report share them."""
    global _last
    if _last is None or _last[0] is not results:
        named = with_names(results)
        means, runs = make_mean_table(named), make_run_table(named)
        beside = [_list_paper_values(cell) for cell in named.cells]
        means = means.assign(
            row=MEAN,
            fold=MEAN,
            marks=["; ".join(c.marks) for c in named.cells],
            paper_miou=[miou for miou, _ in beside],
            same_as_paper=[same for _, same in beside],
        )
        _last = results, (means, runs.assign(row="run", fold=runs["fold"].astype("str")))
    return _last[1]


def _list_paper_values(cell: Cell) -> tuple[float | None, bool | None]:
    """Return the paper's mIoU of a mean and whether it measures the same.  Both are None if the paper has none."""
    legend = build_legend([*cell.marks, *(mark for run in cell.folds.values() for mark in run.marks)])
    beside = next((c for c in compare_with_paper(cell, legend) if c.fold == MEAN), None)
    return (float(beside.printed), beside.same) if beside else (None, None)


def _prepare_for_file(column: Column, values: list[Any], edit_text: Callable[[str], str]) -> Any:
    """Give the values of a column the type that it has in a file.  A missing value stays empty."""
    from pandas import array

    given = [None if value is None or value != value else value for value in values]
    if column.kind == "number":
        return np.array([math.nan if value is None else value for value in given], float)
    if column.kind == "text":
        return [None if value is None else edit_text(value) for value in given]
    return array([None if value is None else int(value) for value in given], dtype="Int64")
