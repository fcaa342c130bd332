"""CSV at full precision: one table of runs and means, one of episodes, for other programs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from fssbench.api import (
    EPISODE_COLUMNS,
    Column,
    Reporter,
    Results,
    column_names,
    make_episode_table,
    name_runs,
)

from ..content.export_rows import RESULT_COLUMNS, make_results_table
from ..content.text import clean

if TYPE_CHECKING:
    from pandas import DataFrame


class CsvReporter(Reporter):
    """`results.csv` and `episodes.csv`: numbers unrounded, columns as in the Parquet files."""

    name = "csv"
    title = "CSV of runs and means and of episodes, full precision"

    def write(self, results: Results, folder: Path) -> list[Path]:
        """Write `results.csv` and `episodes.csv`."""
        names = name_runs(results)
        guard_once = lru_cache(maxsize=1 << 16)(guard_formula)  # queries recur in the runs of a plan
        episodes = (make_episode_table(run, names[run.identity], guard_once) for run in results.runs)
        return [
            _write_tables(
                folder / "results.csv", RESULT_COLUMNS, [make_results_table(results, guard_formula)]
            ),
            _write_tables(folder / "episodes.csv", EPISODE_COLUMNS, episodes),
        ]


def guard_formula(text: object) -> str:
    """Return text that no spreadsheet takes for a formula.

    Example:
        >>> guard_formula("=cmd()"), guard_formula("pmnet")
        ("'=cmd()", 'pmnet')
    """
    plain = clean(text)
    return f"'{plain}" if plain.lstrip()[:1] in {"=", "+", "-", "@", "＝", "＋", "－", "＠"} else plain


def _write_tables(path: Path, columns: Sequence[Column], tables: Iterable[DataFrame]) -> Path:
    """Write tables with the same columns below one header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow(column_names(columns))
        for table in tables:
            table.to_csv(file, index=False, header=False, lineterminator="\n")
    return path
