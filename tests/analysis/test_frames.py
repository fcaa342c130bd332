"""The tables of `fssbench.results`: every figure with its doubt, every column as it is documented."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
from fssbench.reports.content.export_rows import RESULT_COLUMNS
from hypothesis import given, settings, strategies as st
from places import DOCS as DOCS_FOLDER
from report_factory import make_cell, make_results, make_run
from run_folders import make_plan, write_run

import fssbench
from fssbench.analysis.columns import (
    EPISODE_COLUMNS,
    MEAN_COLUMNS,
    RUN_COLUMNS,
    SENSITIVITY_COLUMNS,
    STRATUM_COLUMNS,
    SUPPORT_CHOICE_COLUMNS,
    Column,
    column_names,
)
from fssbench.analysis.frames import Frames
from fssbench.api import Results
from fssbench.errors import DataError, UsageError
from fssbench.metrics import score

DOCS = DOCS_FOLDER / "results.md"
KINDS = {"text": "SO", "integer": "i", "number": "f", "flag": "b"}
"""Kinds of dtype; text is an object in pandas 2."""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two methods on three of four folds of PASCAL-5i, and on ISIC with 8 episodes."""
    for method in ("pmnet", "hsnet"):
        for fold in range(3):
            write_run(tmp_path / "runs", make_plan("pascal5i", fold, 1, 200), method)
        write_run(tmp_path / "runs", make_plan("pascal-to-isic2018", 0, 1, 8), method, marks=("miniature",))
    return tmp_path / "runs"


def assert_typed(table: pandas.DataFrame, columns: tuple[Column, ...]) -> None:
    assert list(table.columns) == column_names(columns)
    for column in columns:
        assert table[column.name].dtype.kind in KINDS[column.kind], column
        if column.kind != "number":
            assert not table[column.name].isna().any(), column


def test_tables_have_the_documented_columns_and_types(runs: Path) -> None:
    results = fssbench.results(runs)
    assert (len(results.runs), len(results.means), len(results.episodes)) == (8, 4, 2 * (3 * 200 + 8))
    for frames in (results, Frames(Results((), (), 100, 0))):
        assert_typed(frames.runs, RUN_COLUMNS)
        assert_typed(frames.means, MEAN_COLUMNS)
        assert_typed(frames.episodes, EPISODE_COLUMNS)


def test_figures_follow_from_the_episodes(runs: Path) -> None:
    results = fssbench.results(runs)
    rule = results.runs.set_index("run")["absent_rule"]
    figures = {}
    for run, mine in results.episodes.groupby("run"):
        counts = [
            mine[[f"{what}_background", f"{what}_foreground"]].to_numpy() for what in ("inter", "union")
        ]
        classes = sorted(mine["class_id"].unique())
        scored = score(mine["class_id"].to_numpy(), *counts, classes, absent=rule[run])
        figures[run] = (scored.miou, scored.fb_iou)
        assert mine["index"].tolist() == list(range(len(mine)))
        iou = 100 * counts[0][:, 1] / counts[1][:, 1]
        np.testing.assert_array_equal(mine["iou"].to_numpy(), iou)
    assert {r.run: (r.miou, r.fb_iou) for r in results.runs.itertuples()} == figures
    over_folds = results.runs.groupby(["benchmark", "name"])["miou"].mean()
    for mean in results.means.itertuples():
        assert mean.miou == pytest.approx(over_folds[mean.benchmark, mean.name])


@settings(max_examples=25, deadline=None)
@given(episodes=st.integers(1, 80), resamples=st.sampled_from([0, 50]))
def test_an_interval_is_there_or_its_absence_is_explained(episodes: int, resamples: int) -> None:
    run = make_run(episodes=episodes)
    if not resamples:
        unknown = replace(run.miou, low=math.nan, high=math.nan)
        run = replace(run, miou=unknown, fb_iou=unknown)
    for table in (Frames(Results((run,), (make_cell([run]),), resamples, 0)).runs,):
        (row,) = table.itertuples()
        assert math.isnan(row.miou_low) == math.isnan(row.miou_high) == bool(row.no_interval)
        assert row.episodes == episodes
        if row.too_few_queries:
            assert row.no_interval.startswith("too few queries (")
        elif not resamples:
            assert row.no_interval == "not resampled"


def test_doubt_is_in_every_table(runs: Path) -> None:
    results = fssbench.results(runs)
    for table in (results.runs, results.means, results.episodes):
        small = table["benchmark"].str.contains("isic")
        assert (table["marks"] == "miniature").equals(small)
    for table in (results.runs, results.means):
        small = table["benchmark"].str.contains("isic")
        assert table["too_few_queries"].equals(small)
        assert (table["no_interval"] != "").equals(small)
        assert table["protocol"].str.startswith("published/").all()
        assert (table["status"] == "complete").all()
    pascal = results.means[results.means["benchmark"] == "pascal5i"]
    assert set(pascal["folds"]) == {"0 1 2"}
    assert set(pascal["missing_folds"]) == {"3"}
    assert results.means.loc[results.means["too_few_queries"], "best"].eq(False).all()
    assert results.runs["identity"].str.fullmatch(r"[0-9a-f]{64}").all()


def test_an_interrupted_run_is_incomplete(runs: Path) -> None:
    log = next(runs.glob("pascal-to-isic2018*hsnet*/episodes.jsonl"))
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:5]))
    table = fssbench.results(runs).runs.set_index("run")
    row = table.loc[log.parent.name]
    assert (row["status"], row["episodes"], row["planned"]) == ("incomplete", 5, 8)
    assert "incomplete" in row["marks"]


def test_what_is_left_out_is_a_warning_and_a_note(runs: Path) -> None:
    broken = next(runs.glob("pascal5i-f0*hsnet*"))
    (broken / "manifest.json").write_text("{")
    with pytest.warns(UserWarning, match="left out"):
        results = fssbench.results(runs)
    assert len(results.runs) == 7
    assert any(broken.name in note for note in results.notes)


def test_equal_labels_have_different_names(tmp_path: Path) -> None:
    plan = make_plan("pascal-to-isic2018", 0, 1, 40)
    for head in ("a", "b"):
        write_run(
            tmp_path,
            plan,
            "pmnet",
            context={"checkpoint": f"{head}.safetensors"},
            block={"head_sha256": head},
        )
    results = fssbench.results(tmp_path)
    assert results.runs["label"].nunique() == 1
    for table in (results.runs, results.means, results.episodes):
        assert table["name"].nunique() == 2


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no runs"):
        fssbench.results(tmp_path)
    with pytest.raises(UsageError, match="folders="):
        fssbench.results([tmp_path])  # type: ignore[arg-type]
    for wrong in ({"resamples": -1}, {"seed": -1}):
        with pytest.raises(UsageError, match="-1"):
            fssbench.results(tmp_path, **wrong)  # type: ignore[arg-type]


def test_several_folders_and_the_default(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = sorted(runs.iterdir())
    assert len(fssbench.results(*map(str, folders)).runs) == len(folders)
    monkeypatch.chdir(tmp_path)
    assert len(fssbench.results(resamples=0).runs) == len(folders)


def test_pandas_is_imported_for_a_table_and_not_before() -> None:
    code = "import sys, fssbench; fssbench.results; print('pandas' in sys.modules)"
    answer = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"


def test_results_without_names_get_them() -> None:
    results = make_results()
    assert not any(cell.name for cell in results.cells)
    assert set(Frames(results).means["name"]) == {"pmnet", "hsnet", "panet"}


def described(section: str) -> list[tuple[str, ...]]:
    """The rows of the table of columns below a heading of the page, cell by cell."""
    text = DOCS.read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [
        tuple(cell.strip() for cell in line.split("|")[1:-1])
        for line in re.findall(r"^\| `.*", text, flags=re.M)
    ]


def test_the_page_describes_every_column() -> None:
    def rows(columns: list[Column]) -> list[tuple[str, ...]]:
        return [(f"`{c.name}`", c.kind, c.unit, c.meaning) for c in columns]

    assert described("Runs") == rows(list(RUN_COLUMNS))
    assert described("Strata") == rows(STRATUM_COLUMNS)
    assert described("Sensitivity") == rows(SENSITIVITY_COLUMNS)
    assert described("Support choice") == rows(SUPPORT_CHOICE_COLUMNS)
    assert described("Means") == rows([c for c in MEAN_COLUMNS if c not in RUN_COLUMNS])
    assert described("Episodes") == rows(list(EPISODE_COLUMNS))
    assert described("Files") == rows([c for c in RESULT_COLUMNS if c not in (*RUN_COLUMNS, *MEAN_COLUMNS)])
    lacking = re.search(r"The columns of runs without (.*?), and these", DOCS.read_text(), flags=re.DOTALL)
    assert lacking is not None
    assert set(re.findall(r"`(\w+)`", lacking[1])) == set(column_names(RUN_COLUMNS)) - set(
        column_names(MEAN_COLUMNS)
    )


def test_every_column_has_a_meaning_and_every_measure_a_unit() -> None:
    for column in (
        *(*RUN_COLUMNS, *MEAN_COLUMNS, *EPISODE_COLUMNS, *RESULT_COLUMNS),
        *(*STRATUM_COLUMNS, *SENSITIVITY_COLUMNS, *SUPPORT_CHOICE_COLUMNS),
    ):
        assert column.meaning, column
        assert "|" not in column.meaning, column
        if column.kind == "number":
            assert column.unit, column
