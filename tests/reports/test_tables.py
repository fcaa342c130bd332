"""CSV and Parquet: the same two tables, unrounded, from any results."""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fssbench.reports.content.export_rows import RESULT_COLUMNS
from fssbench.reports.formats.csv_report import CsvReporter
from fssbench.reports.formats.parquet_report import ParquetReporter
from report_factory import make_cell, make_results, make_run, share_results

from fssbench.analysis.frames import Frames
from fssbench.api import EPISODE_COLUMNS, Results, UsageError, column_names
from fssbench.metrics import score

FIRST_RESULT_COLUMNS = (
    "row benchmark method label name ablations backbone weights protocol score_size seed shot fold miou miou_low "
    "miou_high fb_iou fb_iou_low fb_iou_high episodes planned queries fewest_queries_in_a_class too_few_queries "
    "learnable parameters seconds_per_episode best tied marks absent_classes paper_miou same_as_paper identity "
    "plan_sha256 run resamples bootstrap_seed"
)
FIRST_EPISODE_COLUMNS = (
    "run benchmark method label backbone fold shot seed index class_id class_name query inter_background "
    "inter_foreground union_background union_foreground target"
)


def test_columns_that_users_have_stay_in_their_places() -> None:
    for first, columns in ((FIRST_RESULT_COLUMNS, RESULT_COLUMNS), (FIRST_EPISODE_COLUMNS, EPISODE_COLUMNS)):
        names = first.split()
        assert column_names(columns)[: len(names)] == names


def test_files_hold_the_tables_of_python(tmp_path: Path) -> None:
    """Values of `fssbench.results` are read back from the files, with intervals and marks."""
    results = make_results(marks=("miniature",), episodes=30)
    CsvReporter().write(results, tmp_path)
    frames = Frames(results)
    _, lines = read_csv(tmp_path / "results.csv")
    for row, table in (("mean", frames.means), ("run", frames.runs)):
        mine = [line for line in lines if line["row"] == row]
        assert len(mine) == len(table)
        for name in ("miou", "miou_low", "fb_iou_high"):
            assert [float(line[name] or "nan") for line in mine] == pytest.approx(
                table[name], rel=0, nan_ok=True
            )
        for name in ("no_interval", "status", "absent_rule", "protocol", "name"):
            assert [line[name] for line in mine] == table[name].tolist()
        assert [line["too_few_queries"] == "1" for line in mine] == table["too_few_queries"].tolist()
    _, episodes = read_csv(tmp_path / "episodes.csv")
    assert {line["marks"] for line in episodes} == {"miniature", "miniature; untrained"}
    assert [float(line["iou"]) for line in episodes] == frames.episodes["iou"].tolist()


def read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        rows = list(table)
        return list(table.fieldnames or ()), rows


def test_figures_follow_from_the_episodes_that_are_written(tmp_path: Path) -> None:
    results = share_results()
    CsvReporter().write(results, tmp_path)
    header, episodes = read_csv(tmp_path / "episodes.csv")
    assert header == column_names(EPISODE_COLUMNS)
    assert len(episodes) == sum(run.episodes for run in results.runs)
    _, lines = read_csv(tmp_path / "results.csv")
    for line in (line for line in lines if line["row"] == "run"):
        mine = [e for e in episodes if e["run"] == line["run"]]

        def pair(what: str, rows: list[dict[str, str]] = mine) -> np.ndarray:
            return np.array([[int(e[f"{what}_background"]), int(e[f"{what}_foreground"])] for e in rows])

        ids = np.array([int(e["class_id"]) for e in mine])
        result = score(ids, pair("inter"), pair("union"), sorted(set(ids.tolist())))
        assert result.miou == float(line["miou"])
        assert result.fb_iou == float(line["fb_iou"])


@pytest.mark.parametrize("table", ["results", "episodes"])
def test_parquet_holds_what_csv_holds(table: str, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow (extra parquet) is not installed")
    run = replace(
        make_run(label="a,\"b\" 'c'", class_names=("=x", "é", "日本", "-", "n")), seconds=float("nan")
    )
    results = share_results(("miniature",))
    results = replace(results, runs=(*results.runs, run), cells=(*results.cells, make_cell([run])))
    CsvReporter().write(results, tmp_path)
    ParquetReporter().write(results, tmp_path)
    result = parquet.read_table(tmp_path / f"{table}.parquet")
    header, lines = read_csv(tmp_path / f"{table}.csv")
    columns = RESULT_COLUMNS if table == "results" else EPISODE_COLUMNS
    assert result.column_names == header == column_names(columns)
    types = {"text": "string", "integer": "int64", "flag": "int64", "number": "double"}
    assert [str(t) for t in result.schema.types] == [types[column.kind] for column in columns]

    def as_csv(value: Any) -> str:
        text = "" if value is None else str(value)
        return f"'{text}" if isinstance(value, str) and text[:1] in {"=", "-"} else text

    assert [{k: as_csv(v) for k, v in row.items()} for row in result.to_pylist()] == lines


def test_results_without_a_run_are_written_too(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow (extra parquet) is not installed")
    ParquetReporter().write(Results((), (), 100, 0), tmp_path)
    assert parquet.read_table(tmp_path / "episodes.parquet").num_rows == 0
    CsvReporter().write(Results((), (), 100, 0), tmp_path)
    assert (tmp_path / "episodes.csv").read_text() == ",".join(column_names(EPISODE_COLUMNS)) + "\n"


def test_missing_pyarrow_is_told_with_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "fssbench\[parquet\]"'):
        ParquetReporter().write(share_results(), tmp_path)
    assert list(tmp_path.iterdir()) == []
