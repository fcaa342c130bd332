"""Parquet: the tables of the CSV files, typed and small."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from fssbench.api import Reporter, Results, UsageError

from .rows import EPISODES, RESULTS, episode_columns, result_rows


class ParquetReporter(Reporter):
    """`results.parquet` and `episodes.parquet`, columns as in the CSV files."""

    name = "parquet"
    title = "Parquet of runs and means and of episodes"

    @classmethod
    def lacking(cls) -> str:
        """Whether pyarrow is missing, and the command that installs it."""
        if importlib.util.find_spec("pyarrow") is not None:
            return ""
        return 'Parquet needs pyarrow, which is not installed. Next: `pip install "fssbench[parquet]"`'

    def write(self, results: Results, folder: Path) -> list[Path]:
        """Write `results.parquet` and `episodes.parquet`.

        Raises:
            UsageError: where pyarrow is not installed.
        """
        if missing := self.lacking():
            raise UsageError(missing)
        from pyarrow import Table
        from pyarrow import parquet as files

        rows = result_rows(results)
        table = Table.from_pydict(
            {name: [row[name] for row in rows] for name in RESULTS}, schema=_schema(RESULTS)
        )
        files.write_table(table, folder / "results.parquet")
        schema = _schema(EPISODES)
        with files.ParquetWriter(folder / "episodes.parquet", schema) as out:
            for run in results.runs:  # one row group a run: no more than a run is in memory twice
                out.write_table(Table.from_pydict(episode_columns(run), schema=schema))
        return [folder / "results.parquet", folder / "episodes.parquet"]


def _schema(columns: dict[str, type]) -> Any:
    import pyarrow

    kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    return pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
