"""CSV and Parquet: the same two tables, unrounded, from any results."""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fssbench.reports.csv_report import CsvReporter
from fssbench.reports.parquet_report import ParquetReporter
from fssbench.reports.rows import EPISODES, RESULTS
from report_factory import make_cell, make_results, make_run

from fssbench.api import Results, UsageError
from fssbench.metrics import score


def read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        rows = list(table)
        return list(table.fieldnames or ()), rows


def test_figures_follow_from_the_episodes_that_are_written(tmp_path: Path) -> None:
    results = make_results()
    CsvReporter().write(results, tmp_path)
    header, episodes = read_csv(tmp_path / "episodes.csv")
    assert header == list(EPISODES)
    assert len(episodes) == sum(run.episodes for run in results.runs)
    _, lines = read_csv(tmp_path / "results.csv")
    for line in (line for line in lines if line["row"] == "run"):
        mine = [e for e in episodes if e["run"] == line["run"]]

        def pair(what: str, rows: list[dict[str, str]] = mine) -> np.ndarray:
            return np.array([[int(e[f"{what}_background"]), int(e[f"{what}_foreground"])] for e in rows])

        ids = np.array([int(e["class_id"]) for e in mine])
        found = score(ids, pair("inter"), pair("union"), sorted(set(ids.tolist())))
        assert found.miou == float(line["miou"])
        assert found.fb_iou == float(line["fb_iou"])


@pytest.mark.parametrize("table", ["results", "episodes"])
def test_parquet_holds_what_csv_holds(table: str, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow (extra parquet) is not installed")
    run = replace(
        make_run(label="a,\"b\" 'c'", class_names=("=x", "é", "日本", "-", "n")), seconds=float("nan")
    )
    results = make_results(marks=("miniature",))
    results = replace(results, runs=(*results.runs, run), cells=(*results.cells, make_cell([run])))
    CsvReporter().write(results, tmp_path)
    ParquetReporter().write(results, tmp_path)
    found = parquet.read_table(tmp_path / f"{table}.parquet")
    header, lines = read_csv(tmp_path / f"{table}.csv")
    kinds = RESULTS if table == "results" else EPISODES
    assert found.column_names == header == list(kinds)
    names = {str: "string", int: "int64", float: "double"}
    assert [str(t) for t in found.schema.types] == [names[k] for k in kinds.values()]

    def as_csv(value: Any) -> str:
        text = "" if value is None else str(value)
        return f"'{text}" if isinstance(value, str) and text[:1] in {"=", "-"} else text

    assert [{k: as_csv(v) for k, v in row.items()} for row in found.to_pylist()] == lines


def test_results_without_a_run_are_written_too(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow (extra parquet) is not installed")
    ParquetReporter().write(Results((), (), 100, 0), tmp_path)
    assert parquet.read_table(tmp_path / "episodes.parquet").num_rows == 0
    CsvReporter().write(Results((), (), 100, 0), tmp_path)
    assert (tmp_path / "episodes.csv").read_text() == ",".join(EPISODES) + "\n"


def test_missing_pyarrow_is_told_with_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "fssbench\[parquet\]"'):
        ParquetReporter().write(make_results(), tmp_path)
    assert list(tmp_path.iterdir()) == []
