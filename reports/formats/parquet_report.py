"""The report as Parquet files: the tables of the CSV files, smaller and with types."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from fssbench.api import (
    EPISODE_COLUMNS,
    Column,
    Reporter,
    Results,
    UsageError,
    list_episode_columns,
    name_runs,
)

from ..content.export_rows import RESULT_COLUMNS, make_results_table
from ..content.text import clean


class ParquetReporter(Reporter):
    """Writes `results.parquet` and `episodes.parquet`, with the columns of the CSV files."""

    name = "parquet"
    title = "Parquet of runs and means and of episodes"
    apart = True

    @classmethod
    def lacking(cls) -> str:
        """Return the command that installs pyarrow if it is missing, else nothing."""
        if importlib.util.find_spec("pyarrow") is not None:
            return ""
        return 'Parquet needs pyarrow, which is not installed. Next: `pip install "fssbench[parquet]"`'

    def write(self, results: Results, folder: Path) -> list[Path]:
        """Write `results.parquet` and `episodes.parquet`.

        Raises:
            UsageError: if pyarrow is not installed.
        """
        if missing := self.lacking():
            raise UsageError(missing)
        from pyarrow import Table, parquet as files

        names = name_runs(results)
        clean_once = lru_cache(maxsize=1 << 16)(clean)  # queries recur in the runs of a plan
        schema = _make_schema(RESULT_COLUMNS)
        table = Table.from_pandas(make_results_table(results), schema=schema, preserve_index=False)
        files.write_table(table.replace_schema_metadata(), folder / "results.parquet")
        schema = _make_schema(EPISODE_COLUMNS)
        with files.ParquetWriter(folder / "episodes.parquet", schema) as out:
            for run in results.runs:  # one row group per run: no more than one run is in memory twice
                columns = list_episode_columns(run, names[run.identity], clean_once)
                arrays = [_make_array(columns[field.name], run.episodes, field.type) for field in schema]
                out.write_table(Table.from_arrays(arrays, schema=schema))
        return [folder / "results.parquet", folder / "episodes.parquet"]


def _make_array(values: Any, rows: int, kind: Any) -> Any:
    """Make a column of a table: one value for all rows, or one per row; NaN is no value, as pandas has it."""
    import pyarrow

    if isinstance(values, (str, int)):
        return pyarrow.repeat(pyarrow.scalar(values, kind), rows)
    return pyarrow.array(values, kind, from_pandas=True)


def _make_schema(columns: Sequence[Column]) -> Any:
    import pyarrow

    whole = pyarrow.int64()
    types = {"text": pyarrow.string(), "integer": whole, "number": pyarrow.float64(), "flag": whole}
    return pyarrow.schema([(column.name, types[column.kind]) for column in columns])
