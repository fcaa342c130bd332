"""CSV at full precision for other programs: runs and means, episodes, and what the runs say about supports."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fssbench.api import (
    EPISODE_COLUMNS,
    Reporter,
    Results,
    column_names,
    guard_formula,
    list_episode_columns,
    make_sensitivity_table,
    make_support_choice_table,
    name_runs,
)

from ..content.export_rows import make_results_table

if TYPE_CHECKING:
    from pandas import DataFrame


_SUPPORT_TABLES: dict[str, Callable[[Results], DataFrame]] = {
    "sensitivity.csv": make_sensitivity_table,
    "support_choice.csv": make_support_choice_table,
}
"""Tables that are written only if a run was made with `--sensitivity` or with `--supports`, by file name."""


class CsvReporter(Reporter):
    """Writes `results.csv`, `episodes.csv` and the tables about supports.  Numbers are not rounded."""

    name = "csv"
    title = "CSV of runs and means and of episodes, full precision"
    apart = True
    sometimes = tuple(_SUPPORT_TABLES)

    def write(self, results: Results, folder: Path) -> list[Path]:
        """Write `results.csv` and `episodes.csv`, and each table about supports that has a row."""
        names = name_runs(results)
        guard_once = lru_cache(maxsize=1 << 16)(guard_formula)  # queries recur in the runs of a plan
        path = folder / "results.csv"
        make_results_table(results, guard_formula).to_csv(
            path, index=False, lineterminator="\n", encoding="utf-8"
        )
        columns = (list_episode_columns(run, names[run.identity], guard_once) for run in results.runs)
        files = [path, _write_episodes(folder / "episodes.csv", columns)]
        for name, make_table in _SUPPORT_TABLES.items():
            table = make_table(results)
            if len(table):
                files.append(_write_table(table, folder / name))
        return files


def _write_table(table: DataFrame, path: Path) -> Path:
    """Write a table whose texts no spreadsheet takes for formulas."""
    texts = table.select_dtypes(exclude="number").columns
    guarded = table.assign(**{name: table[name].map(guard_formula) for name in texts})
    guarded.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")
    return path


def _write_episodes(path: Path, runs: Iterable[Mapping[str, Any]]) -> Path:
    """Write the columns of each run below one header.

    A row is put together by hand: the fields that are equal in all rows of a run are quoted once.
    """
    names = column_names(EPISODE_COLUMNS)
    quote_once = lru_cache(maxsize=1 << 16)(_quote)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(names) + "\n")
        for columns in runs:
            parts, fields = [], []
            for name in names:
                values = columns[name]
                if isinstance(values, (str, int)):
                    parts.append(quote_once(str(values)).replace("%", "%%"))
                else:
                    parts.append("%s")
                    fields.append(_list_fields(values, quote_once))
            row = ",".join(parts) + "\n"
            file.write("".join(map(row.__mod__, zip(*fields, strict=True))))
    return path


def _quote(text: str) -> str:
    """Write a field as the module csv does beside others."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow((text, ""))
    return line.getvalue()[:-2]


def _list_fields(values: Any, quote: Callable[[str], str]) -> Iterable[Any]:
    """List the fields of one column; NaN is an empty field."""
    if isinstance(values, list):
        return map(quote, values)
    fields: list[Any] = values.tolist()
    return ["" if value != value else repr(value) for value in fields] if values.dtype.kind == "f" else fields
