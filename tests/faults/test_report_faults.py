"""Reports and sites on a full disk, under a kill and with a reporter that fails: the earlier files stay whole."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from command import run_command
from kills import choose_steps, die_before, file_size_limit, record_steps
from messages import error_names
from run_folders import make_plan, write_run

from fssbench.errors import DataError, UsageError
from fssbench.files.staged_output import stage_output
from fssbench.reporting import collect_results, write_reports

OLD = {
    "a.txt": "an earlier a",
    "sub/b.txt": "an earlier b",
    "index.html": "an earlier page",
    "notes.txt": "mine",
}
NEW = {"a.txt": "a" * 4000, "sub/b.txt": "b" * 5000, "index.html": "page" * 1000}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output folder with files of an earlier report, and one of the user."""
    folder = tmp_path / "out"
    write_texts(folder, OLD)
    return folder


def write_texts(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read_texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def write_new(folder: Path) -> None:
    with stage_output(folder) as output:
        write_texts(output.make_part(0), NEW)


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_a_kill_before_a_step_leaves_whole_files_and_the_next_report_cleans_up(
    null: Any, out: Path, tmp_path: Path, every: bool
) -> None:
    left = tmp_path / "left"
    """The output folder with what an earlier process left when it was killed."""

    def kill_before(step: int) -> None:
        def work() -> None:
            die_before(step)
            write_new(out)

        child = null.fork(work)
        assert child.wait() == -signal.SIGKILL, child.message

    def restore() -> None:
        shutil.rmtree(out)
        shutil.copytree(left, out)

    kill_before(12)
    out.rename(left)
    assert list(left.glob(".writing-*/0/*")), "nothing is left that the next process has to remove"
    out.mkdir()
    restore()
    child = null.fork(lambda: record_steps(lambda: write_new(out), tmp_path / "changes.json"))
    assert child.wait() == 0, child.message
    changes = json.loads((tmp_path / "changes.json").read_text())
    mixed = 0
    for step in range(1, len(changes) + 1) if every else choose_steps(changes):
        restore()
        kill_before(step)
        texts = {name: text for name, text in read_texts(out).items() if not name.startswith(".writing-")}
        assert texts.keys() == OLD.keys()
        for name, text in texts.items():
            assert text in {OLD[name], NEW.get(name)}, (
                f"step {step}: {name} is neither the earlier nor the new one"
            )
        new = [name for name in NEW if texts[name] == NEW[name]]
        assert "index.html" not in new or len(new) == len(NEW)
        mixed += 0 < len(new) < len(NEW)
    assert mixed
    write_new(out)
    assert read_texts(out) == {**OLD, **NEW}, "something that a killed process wrote is left"


def test_a_writer_brings_its_own_files_to_disk(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brought: set[int] = set()
    monkeypatch.setattr(os, "fsync", lambda handle: brought.add(os.fstat(handle).st_ino))
    with stage_output(out) as output:
        first, second = output.make_part(0), output.make_part(1)
        write_texts(first, NEW)
        write_texts(second, {"c.txt": "not yet"})
        output.bring_part_to_disk(0)
        assert brought == {(first / name).stat().st_ino for name in NEW}
    assert len(brought) == len(NEW) + 1


def test_a_running_report_is_not_taken_for_a_leftover(out: Path) -> None:
    with stage_output(out) as first:
        write_texts(first.make_part(0), {"a.txt": "first"})
        write_new(out)
        assert (first.hidden / "0" / "a.txt").is_file()
    assert (out / "a.txt").read_text() == "first"


def test_a_folder_in_place_of_a_file_is_refused_before_the_first_rename(out: Path) -> None:
    (out / "index.html").unlink()
    (out / "index.html").mkdir()
    with pytest.raises(DataError) as refused:
        write_new(out)
    assert error_names(refused.value, out / "index.html", "Next:")
    assert (out / "a.txt").read_text() == OLD["a.txt"]


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_an_input_output_error_keeps_the_earlier_files(
    out: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        with pytest.raises(DataError) as refused:
            write_new(out)
    assert error_names(refused.value, out, "unchanged", "Next:")
    assert read_texts(out) == OLD


def test_an_error_of_the_writer_publishes_nothing(out: Path) -> None:
    def write_half() -> None:
        with stage_output(out) as output:
            write_texts(output.make_part(0), NEW)
            raise UsageError("stop")

    with pytest.raises(UsageError):
        write_half()
    assert read_texts(out) == OLD


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two small runs."""
    for method in ("pmnet", "panet"):
        write_run(tmp_path / "runs", make_plan("pascal-to-chestxray", 0, 1, 30), method)
    return tmp_path / "runs"


def test_a_full_disk_at_any_size_leaves_every_earlier_file(null: Any, runs: Path, tmp_path: Path) -> None:
    formats = ["markdown", "json"]
    results = collect_results(runs, resamples=10)
    written = write_reports(results, tmp_path / "whole", formats)
    assert not written.broken
    whole = read_texts(tmp_path / "whole")
    out = tmp_path / "report"
    old = dict.fromkeys(whole, "an earlier report")
    write_texts(out, old)
    largest = max(path.stat().st_size for path in written.files)
    for size in [64, largest // 2, largest - 1]:

        def work(size: int = size) -> None:
            with file_size_limit(size):
                write_reports(results, out, formats)

        child = null.fork(work)
        assert child.wait() == DataError.exit_code, child.message
        assert error_names(child.message, out, "unchanged", "Next:")
        assert read_texts(out) == old
    write_reports(results, out, formats)
    assert read_texts(out) == whole


def test_a_command_on_a_full_disk_ends_in_three_and_names_the_file(
    null: Any, runs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "site"
    write_texts(out, {"index.html": "an earlier site"})

    def work() -> None:
        with file_size_limit(3000):
            outcome = run_command("leaderboard", runs, "-o", out, "--resamples", 10)
        print(outcome.output)
        if "Traceback" not in outcome.output and str(out / "index.html") in outcome.output:
            os._exit(outcome.exit_code)

    assert null.fork(work).wait() == DataError.exit_code
    assert read_texts(out) == {"index.html": "an earlier site"}
