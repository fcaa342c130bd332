"""A stranger's installed package through the whole program: list, run, resume, score, report."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from processes import Done, run_commands

METHODS = ["toy-prototype", "toy-colour"]


def run(site: Path, place: Path, *commands: list[str]) -> list[Done]:
    environment = {"PYTHONPATH": str(site), "FSSBENCH_CACHE": str(place / "cache")}
    return run_commands(*commands, folder=place, environment=environment)


@pytest.mark.timeout(300)
def test_run_resume_score_report(toys_site: Path, tmp_path: Path) -> None:
    chosen = [word for name in METHODS for word in ("--method", name)]
    command = ["run", *chosen, "--benchmark", "toy-discs", "--data", "mini", "--episodes", "6", "--shot", "1"]
    first, again, scored, written = run(
        toys_site,
        tmp_path,
        [*command, "--json"],
        [*command, "--json"],
        ["score", "--json"],
        ["report", "--resamples", "50"],
    )
    assert first.returncode == 0, first.stderr
    rows = [json.loads(line) for line in first.stdout.splitlines()]
    assert [row["method"] for row in rows] == METHODS
    assert all(row["computed"] == 6 and "miniature" in row["marks"] for row in rows)

    assert [json.loads(line)["computed"] for line in again.stdout.splitlines()] == [0, 0]

    figures = {json.loads(line)["identity"]: json.loads(line)["miou"] for line in scored.stdout.splitlines()}
    assert figures == {row["identity"]: row["miou"] for row in rows}

    assert written.returncode == 0, written.stderr
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert {"report.html", "report.md", "report.tex", "results.csv"} <= names
    assert len(names) > 4  # the package's own reporter wrote too
    with (tmp_path / "report" / "results.csv").open() as file:
        result = [row for row in csv.DictReader(file) if row["identity"] in figures]
    assert {row["identity"]: float(row["miou"]) for row in result} == pytest.approx(figures)


@pytest.mark.timeout(300)
def test_a_third_party_backbone_is_listed_shown_and_run_and_its_data_set_shown(
    toys_site: Path, tmp_path: Path
) -> None:
    """That data sets and methods are listed: see tests/cli/test_list.py."""
    command = ["run", "--method", "panet", "--backbone", "toy-stages", "--benchmark", "toy-discs"]
    command += ["--data", "mini", "--episodes", "4", "--shot", "1", "--json"]
    data_set, listed, shown, refused, ran = run(
        toys_site,
        tmp_path,
        ["show", "toy-discs"],
        ["list", "backbones", "--json"],
        ["show", "toy-stages", "--json"],
        command,
        [*command, "--weights", "random"],
    )
    assert data_set.returncode == 0, data_set.stderr
    assert "toy-discs" in data_set.stdout
    rows = {row["name"]: row for row in map(json.loads, listed.stdout.splitlines())}
    assert {"resnet50", "toy-stages"} <= set(rows)
    assert rows["toy-stages"]["status"] == "ok"
    assert rows["toy-stages"]["layouts"] == "standard wide"
    backbone = json.loads(shown.stdout)
    assert backbone["licence"] == "Apache-2.0"
    assert len(backbone["taps of layout wide"]) == 4
    assert refused.returncode != 0
    assert "toy-stages" in refused.stderr
    assert "--weights random" in refused.stderr
    assert ran.returncode == 0, ran.stderr
