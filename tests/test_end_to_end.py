"""A stranger's installed package through the whole program: list, run, resume, score, report."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

METHODS = ["toy-prototype", "toy-colour"]


def fssbench(site: Path, place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(site),
        "FSSBENCH_CACHE": str(place / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, "-P", "-m", "fssbench", *words],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(300)
def test_run_resume_score_report(toys_site: Path, tmp_path: Path) -> None:
    chosen = [word for name in METHODS for word in ("--method", name)]
    command = ["run", *chosen, "--benchmark", "toy-discs", "--data", "mini", "--episodes", "6", "--shot", "1"]
    first = fssbench(toys_site, tmp_path, *command, "--json")
    assert first.returncode == 0, first.stderr
    rows = [json.loads(line) for line in first.stdout.splitlines()]
    assert [row["method"] for row in rows] == METHODS
    assert all(row["computed"] == 6 and "miniature" in row["marks"] for row in rows)

    again = fssbench(toys_site, tmp_path, *command, "--json")
    assert [json.loads(line)["computed"] for line in again.stdout.splitlines()] == [0, 0]

    scored = fssbench(toys_site, tmp_path, "score", "--json")
    figures = {json.loads(line)["identity"]: json.loads(line)["miou"] for line in scored.stdout.splitlines()}
    assert figures == {row["identity"]: row["miou"] for row in rows}

    written = fssbench(toys_site, tmp_path, "report", "--resamples", "50")
    assert written.returncode == 0, written.stderr
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert {"report.html", "report.md", "report.tex", "results.csv"} <= names
    assert len(names) > 4  # the package's own reporter wrote too
    with (tmp_path / "report" / "results.csv").open() as file:
        result = [row for row in csv.DictReader(file) if row["identity"] in figures]
    assert {row["identity"]: float(row["miou"]) for row in result} == pytest.approx(figures)


@pytest.mark.timeout(300)
def test_a_strangers_data_set_is_shown(toys_site: Path, tmp_path: Path) -> None:
    """That it is listed: see tests/cli/test_list.py."""
    shown = fssbench(toys_site, tmp_path, "show", "toy-discs")
    assert shown.returncode == 0, shown.stderr
    assert "toy-discs" in shown.stdout


@pytest.mark.timeout(300)
def test_a_third_party_backbone_is_listed_shown_and_run(toys_site: Path, tmp_path: Path) -> None:
    listed = fssbench(toys_site, tmp_path, "list", "backbones", "--json")
    rows = {row["name"]: row for row in map(json.loads, listed.stdout.splitlines())}
    assert {"resnet50", "toy-stages"} <= set(rows)
    assert rows["toy-stages"]["status"] == "ok"
    assert rows["toy-stages"]["layouts"] == "standard wide"
    shown = json.loads(fssbench(toys_site, tmp_path, "show", "toy-stages", "--json").stdout)
    assert shown["licence"] == "Apache-2.0"
    assert len(shown["taps of layout wide"]) == 4

    command = [
        "run",
        "--method",
        "panet",
        "--backbone",
        "toy-stages",
        "--benchmark",
        "toy-discs",
        "--data",
        "mini",
    ]
    command += ["--episodes", "4", "--shot", "1", "--json"]
    refused = fssbench(toys_site, tmp_path, *command)
    assert refused.returncode != 0
    assert "toy-stages" in refused.stderr
    assert "--weights random" in refused.stderr

    ran = fssbench(toys_site, tmp_path, *command, "--weights", "random")
    assert ran.returncode == 0, ran.stderr
