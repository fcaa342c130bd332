"""Checksums of the files of a run: every change is named, and no way of going on makes a changed file right."""

from __future__ import annotations

import json
import os
import shutil
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import run_command
from kills import die_before
from messages import error_names

from fssbench.analysis.collect import collect
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.settings import Settings
from fssbench.runs.checksums import FILE, find_changed_files, read_checksums
from fssbench.runs.merge import merge
from fssbench.runs.records import EpisodeRecord
from fssbench.runs.store import read_run
from fssbench.runs.summary import summarise
from fssbench.verification.seals import Outcome, check_seals

NAMES = {
    "manifest.json",
    "plan.json",
    "episodes.jsonl",
    "sessions.jsonl",
    "summary.json",
    "data.json",
    "panels.jsonl",
    "supports.json",
}


@pytest.fixture
def run(null: Any) -> Path:
    """A complete run."""
    return Path(null.copy_run(6))


def find_outcome(run: Path) -> tuple[Outcome, str]:
    (finding,) = [finding for finding in check_seals(run)[0] if finding.check == "files"]
    return finding.outcome, finding.detail


def change(path: Path) -> None:
    """Change one letter or digit of a file."""
    text = path.read_text()
    place = next(i for i in range(len(text) // 2, len(text)) if text[i].isdigit())
    path.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])


def test_every_file_of_a_run_has_its_checksum(run: Path) -> None:
    assert set(read_checksums(run) or ()) == NAMES
    assert {path.name for path in run.iterdir() if path.name[0] != "."} == {*NAMES, FILE}
    assert find_outcome(run)[0] == Outcome.EQUAL


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_changed_and_a_missing_file_is_named(run: Path, name: str) -> None:
    change(run / name)
    outcome, detail = find_outcome(run)
    assert (outcome, name in detail) == (Outcome.DIFFERS, True)
    (run / name).unlink()
    assert find_outcome(run)[0] == (Outcome.EQUAL if name == "panels.jsonl" else Outcome.DIFFERS)


def test_a_forged_summary_is_named_by_a_report_and_its_figures_are_those_of_the_records(run: Path) -> None:
    before = collect([run], resamples=10)
    assert before.notes == ()
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "miou": 99.9}))
    after = collect([run], resamples=10)
    assert after.runs[0].miou == before.runs[0].miou
    assert error_names(after.notes[0], run, "summary.json", "fssbench verify")
    for command in ("report", "verify", "compare"):
        words = (
            [run, "-o", run.parent.parent / "report", "--format", "json"] if command == "report" else [run]
        )
        outcome = run_command(command, *words)
        assert "summary.json" in outcome.output, command


@pytest.mark.parametrize(
    "name", ["manifest.json", "sessions.jsonl", "panels.jsonl", "data.json", "episodes.jsonl"]
)
def test_running_again_does_not_make_a_changed_file_right(null: Any, run: Path, name: str) -> None:
    if name == "manifest.json":
        manifest = json.loads((run / name).read_text())
        manifest["context"]["title"] = "Another"
        (run / name).write_text(json.dumps({**manifest}))
    elif name == "episodes.jsonl":
        lines = (run / name).read_bytes().splitlines(keepends=True)
        record = EpisodeRecord.parse(lines[0].rstrip(b"\n"))
        (run / name).write_bytes(replace(record, inter=record.inter[::-1]).line() + b"".join(lines[1:]))
    else:
        (run / name).write_bytes((run / name).read_bytes() + b"\n")
    assert name in find_changed_files(run)
    with pytest.warns(UserWarning, match="changed") if name == "episodes.jsonl" else nullcontext():
        null.run("runs", null.plan(6))
    known = name == "data.json" and name not in find_changed_files(run)  # it is written again from the data
    assert known or name in find_outcome(run)[1]


def test_going_on_from_a_changed_log_does_not_make_it_right(null: Any, run: Path) -> None:
    log = run / "episodes.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    record = EpisodeRecord.parse(lines[0].rstrip(b"\n"))
    log.write_bytes(replace(record, inter=record.inter[::-1]).line() + b"".join(lines[1:-1]))
    with pytest.warns(UserWarning, match="changed"):
        null.run("runs", null.plan(6))
    assert read_run(run).status == "complete"
    assert log.name in find_outcome(run)[1]


def test_a_lost_record_that_is_computed_again_makes_the_log_right(null: Any, run: Path) -> None:
    log = run / "episodes.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-2]))
    with pytest.warns(UserWarning, match="changed"):
        null.run("runs", null.plan(6))
    assert find_outcome(run)[0] == Outcome.EQUAL


@pytest.mark.parametrize("name", [FILE, "sessions.jsonl"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(run: Path, name: str) -> None:
    (run / name).unlink()
    os.mkfifo(run / name)
    assert find_outcome(run)[0] == (Outcome.NOT_CHECKED if name == FILE else Outcome.DIFFERS)


def test_a_summary_that_is_written_again_is_right(null: Any, run: Path) -> None:
    before = (run / "summary.json").read_bytes()
    change(run / "summary.json")
    summarise(run)
    assert (run / "summary.json").read_bytes() == before
    assert find_outcome(run)[0] == Outcome.EQUAL


def test_line_ends_do_not_count(run: Path) -> None:
    for name in NAMES:
        content = (run / name).read_bytes()
        (run / name).write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    assert find_outcome(run)[0] == Outcome.EQUAL


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"files": 3}', b'{"files": {"a": 3}}', b"{" * 9999])
def test_a_run_without_checksums_is_read_and_said_to_be_without(run: Path, content: bytes | None) -> None:
    (run / FILE).unlink()
    if content is not None:
        (run / FILE).write_bytes(content)
    assert read_run(run).status == "complete"
    assert collect([run], resamples=10).notes == ()
    outcome, detail = find_outcome(run)
    assert outcome == Outcome.NOT_CHECKED
    assert "without" in detail


def test_edited_marks_of_a_run_without_checksums_are_noticed_by_the_seal(run: Path) -> None:
    (run / FILE).unlink()
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["context"]["marks"] = ["untrained"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    (note,) = collect([run], resamples=10).notes
    assert error_names(note, run, "manifest.json", "changed", "fssbench verify")
    assert "manifest.json" in run_command("score", run).stderr
    del manifest["sealed"]  # as in a run of an earlier version
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert collect([run], resamples=10).notes == ()


def test_a_name_outside_the_folder_is_never_read(run: Path) -> None:
    (run / FILE).write_text(json.dumps({"files": {"../../secret": "0" * 64}}))
    assert find_changed_files(run) == {}


def test_a_killed_run_has_no_wrong_checksums_at_any_step_and_gets_right_ones(null: Any, run: Path) -> None:
    plan, method = null.plan(6), null.method()
    log = run / "episodes.jsonl"
    for step in (3, 8, 13, 18, 23, 28):
        out = null.folder / f"step{step}"
        shutil.copytree(run, out / run.name)
        (out / run.name / log.name).write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:3]))
        (out / run.name / FILE).unlink()

        def work(step: int = step, out: Path = out) -> None:
            die_before(step)
            null.run(out, plan, method)

        assert null.fork(work).wait() in {0, -signal.SIGKILL}
        assert find_changed_files(out / run.name) == {}
        null.run(out, plan, method)
        assert find_outcome(out / run.name)[0] == Outcome.EQUAL


def test_an_interrupted_run_and_a_joined_run_have_checksums(null: Any) -> None:
    plan = null.plan(6)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_all([null.method()], plan, Settings(out=null.folder / "half", panels=1), watch=stop)
    assert find_outcome(null.find_run("half"))[0] == Outcome.EQUAL
    for part in (1, 2):
        null.run("shards", plan, shard=(part, 2))
    (joined,) = merge([null.folder / "shards"], null.folder / "joined")
    assert find_outcome(joined)[0] == Outcome.EQUAL
