"""Runs with files that a report must refuse or name: pipes, devices, logs of other runs, files that cannot be read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from command import run_command
from run_folders import make_plan, write_run

from fssbench.analysis.collect import collect
from fssbench.cli.warning_lines import print_plain_warnings
from fssbench.errors import DataError
from fssbench.reporting import report_runs
from fssbench.runs import checksums
from fssbench.runs.summary import summarise
from fssbench.verification.seals import Outcome, check_seals

PLAN = make_plan("pascal-to-deepglobe", 0, 1, 12)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs of one plan, without checksums, each with its summary."""
    for method in ("pmnet", "panet"):
        summarise(write_run(tmp_path / "runs", PLAN, method))
    return tmp_path / "runs"


def find_run(runs: Path, method: str) -> Path:
    (path,) = runs.glob(f"*-{method}-*")
    return path


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize(
    "name",
    ["manifest.json", "plan.json", "episodes.jsonl", "supports.json", "sessions.jsonl", "panels.jsonl"],
)
def test_a_pipe_or_device_is_named_at_once_and_the_other_run_is_collected(
    runs: Path, name: str, kind: str
) -> None:
    path = find_run(runs, "pmnet") / name
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    results = collect([runs], resamples=0)
    assert "panet" in {run.method for run in results.runs}
    assert any(str(path) in note and ("pipe" in note or "device" in note) for note in results.notes)
    needed = name in {"manifest.json", "plan.json", "episodes.jsonl"}
    assert ("pmnet" in {run.method for run in results.runs}) != needed


def test_verify_does_not_wait_for_a_pipe_in_place_of_the_summary(runs: Path) -> None:
    path = find_run(runs, "pmnet") / "summary.json"
    path.unlink()
    os.mkfifo(path)
    (finding,) = [each for each in check_seals(path.parent)[0] if each.check == "summary"]
    assert finding.outcome == Outcome.DIFFERS
    assert str(path) in finding.detail


def test_a_log_of_another_run_is_noted_although_the_run_has_no_checksums(runs: Path) -> None:
    assert collect([runs], resamples=0).notes == ()
    changed = find_run(runs, "pmnet")
    shutil.copy(find_run(runs, "panet") / "episodes.jsonl", changed)
    (note,) = collect([runs], resamples=0).notes
    assert str(changed) in note
    assert "summary.json" in note


def test_a_summary_of_fewer_episodes_is_no_contradiction(runs: Path) -> None:
    path = find_run(runs, "pmnet")
    log = path / "episodes.jsonl"
    whole = log.read_bytes()
    log.write_bytes(b"".join(whole.splitlines(keepends=True)[:5]))
    summarise(path)
    log.write_bytes(whole)
    assert collect([path], resamples=0).notes == ()


def test_a_file_that_cannot_be_read_is_named_when_checksums_are_written(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = find_run(runs, "pmnet")
    read_bytes = Path.read_bytes

    def fail(self: Path) -> bytes:
        if self.name == "plan.json":
            raise OSError(5, "Input/output error")
        return read_bytes(self)

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.warns(UserWarning, match=r"plan\.json"):
        checksums.write_checksums(path, {})
    monkeypatch.undo()
    stored = checksums.read_checksums(path)
    assert stored is not None
    assert "plan.json" not in stored
    assert "episodes.jsonl" in stored


@pytest.mark.parametrize("out", ["report", "deep/report"])
def test_a_report_of_no_runs_leaves_no_folder(tmp_path: Path, out: str) -> None:
    asked: dict[str, Any] = {"style": None, "compare_to": None, "resamples": 10, "seed": 0}
    with pytest.raises(DataError):
        report_runs([tmp_path / "none"], tmp_path / out, ["json"], tell=str, **asked)
    assert not (tmp_path / Path(out).parts[0]).exists()
    (tmp_path / out).mkdir(parents=True)
    with pytest.raises(DataError):
        report_runs([tmp_path / "none"], tmp_path / out, ["json"], tell=str, **asked)
    assert (tmp_path / out).is_dir()  # it was there before


def test_a_site_of_no_runs_leaves_no_folder(tmp_path: Path) -> None:
    done = run_command("leaderboard", "none", "-o", "site", folder=tmp_path)
    assert done.exit_code == 3
    assert not (tmp_path / "site").exists()


def test_a_warning_is_one_line_without_code(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        print_plain_warnings()
        warnings.simplefilter("always")
        warnings.warn("the log\nwas \x1b[31mchanged", stacklevel=1)
        warnings.warn("divide by zero", RuntimeWarning, stacklevel=1)
    said = capsys.readouterr()
    assert said.out == ""
    first, second = said.err.splitlines()
    assert first.startswith("warning: the log")
    assert "\x1b" not in first
    assert "RuntimeWarning: divide by zero" in second
    assert __file__ not in said.err


def test_a_warning_that_the_user_makes_an_error_is_one_line_too(runs: Path) -> None:
    log = find_run(runs, "pmnet") / "episodes.jsonl"
    log.write_bytes(log.read_bytes()[:-20])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        done = run_command("list", "runs", "--json", "-o", str(runs), folder=runs)
    assert done.exit_code == DataError.exit_code
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert str(log) in line
    assert "PYTHONWARNINGS" in line


@pytest.mark.slow
def test_a_command_prints_a_torn_record_as_a_warning_of_one_line(runs: Path) -> None:
    log = find_run(runs, "pmnet") / "episodes.jsonl"
    log.write_bytes(log.read_bytes()[:-20])
    done = subprocess.run(
        [sys.executable, "-m", "fssbench", "list", "runs", "-o", str(runs)],
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"warning: the last record of {log} is incomplete")
