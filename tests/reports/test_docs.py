"""Every command of docs/reports.md is run, one after another, as a reader would."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from report_factory import make_cell, make_run

from fssbench.api import Results
from fssbench.cli import main
from fssbench.efficiency import measure
from fssbench.plugins.registry import REPORTERS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "reports.md").read_text()
SHORT = ["--size", "64", "--repeats", "3", "--shot", "1"]
COMMANDS = [line.strip() for line in TEXT.splitlines() if line.startswith("    ")]


def test_every_command_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [make_run(m, "coco20i-to-fss1000", episodes=20, marks=("miniature",)) for m in ("pmnet", "hsnet")]
    results = Results(tuple(runs), tuple(make_cell([run], missing=(1, 2, 3)) for run in runs), 100, 0)
    monkeypatch.setattr("fssbench.analysis.collect.collect", lambda paths, **_: results)
    monkeypatch.setattr(
        "fssbench.efficiency.measure.measure_in_subprocess", measure.measure
    )  # a child adds nothing here
    monkeypatch.chdir(tmp_path)
    assert len(COMMANDS) == 8
    for command in COMMANDS:
        words = shlex.split(command)
        assert words[0] == "fssbench"
        if words[1] == "bench":
            words += SHORT
        answer = CliRunner().invoke(main, words[1:])
        assert answer.exit_code == 0, (command, answer.output)
    assert (tmp_path / "report" / "paper.tex").is_file()
    assert (tmp_path / "site" / "index.html").is_file()
    assert "Changes since report" in (tmp_path / "new" / "report.html").read_text()
    named = re.findall(r"^\| `(\w+)` \| (.+?) \|", TEXT, flags=re.MULTILINE)
    assert {name for name, _ in named} == set(REPORTERS.names())
    for file in re.findall(r"`([\w.]+/?)`", " ".join(files for _, files in named)):
        if not file.endswith(".parquet"):  # an extra
            assert (tmp_path / "report" / file).exists(), file


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert (ROOT / "docs" / target).is_file(), target
