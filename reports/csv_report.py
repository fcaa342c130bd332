"""CSV at full precision: one table of runs and means, one of episodes, for other programs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from fssbench.api import Reporter, Results

from .rows import EPISODES, RESULTS, episode_columns, result_rows
from .text import clean


class CsvReporter(Reporter):
    """`results.csv` and `episodes.csv`: numbers unrounded, columns as in the Parquet files."""

    name = "csv"
    title = "CSV of runs and means and of episodes, full precision"

    def write(self, results: Results, folder: Path) -> list[Path]:
        """Write `results.csv` and `episodes.csv`."""
        lines = (list(row.values()) for row in result_rows(results))
        episodes = (line for run in results.runs for line in zip(*episode_columns(run).values(), strict=True))
        return [
            _written(folder / "results.csv", tuple(RESULTS), lines),
            _written(folder / "episodes.csv", tuple(EPISODES), episodes),
        ]


def guard(text: object) -> str:
    """Text that no spreadsheet takes for a formula.

    Example:
        >>> guard("=cmd()"), guard("pmnet")
        ("'=cmd()", 'pmnet')
    """
    plain = clean(text)
    return f"'{plain}" if plain.lstrip()[:1] in {"=", "+", "-", "@", "＝", "＋", "－", "＠"} else plain


def _written(path: Path, header: Sequence[str], lines: Iterable[Sequence[Any]]) -> Path:
    guarded = lru_cache(maxsize=1 << 16)(guard)  # names recur on every line
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        for line in lines:
            table.writerow([guarded(value) if isinstance(value, str) else value for value in line])
    return path
