"""How far runs are, without reading their episodes: always what reading them says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fssbench.errors import DataError
from fssbench.runs import progress
from fssbench.runs.checksums import write_checksums
from fssbench.runs.progress import read_progress
from fssbench.runs.store import read_run
from fssbench.runs.summary import summarise


@pytest.fixture
def run(null: Any) -> Path:
    """A complete run."""
    return Path(null.copy_run(6))


def read_both(path: Path) -> tuple[tuple[int, int, str], tuple[int, int, str]]:
    quick, whole = read_progress(path), read_run(path)
    assert quick.manifest == whole.manifest
    return (quick.done, quick.planned, quick.status), (whole.done, whole.planned, whole.status)


def cut_log(run: Path, lines: int) -> None:
    log = run / "episodes.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:lines]))


def test_a_run_as_it_was_written_is_not_read(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_both(run) == ((6, 6, "complete"),) * 2
    monkeypatch.setattr(progress, "read_run", None)
    assert read_progress(run).done == 6


def test_an_incomplete_run(run: Path) -> None:
    cut_log(run, 4)
    summarise(run)
    write_checksums(run, {})
    assert read_both(run) == ((4, 6, "incomplete"),) * 2


def test_a_summary_older_than_the_log_does_not_count(run: Path) -> None:
    log = (run / "episodes.jsonl").read_bytes()
    cut_log(run, 4)
    summarise(run)
    (run / "episodes.jsonl").write_bytes(log)
    write_checksums(run, {})
    assert read_both(run) == ((6, 6, "complete"),) * 2


def test_a_shard(null: Any) -> None:
    (done,) = null.run("shards", null.plan(6), shard=(1, 4))
    assert read_both(Path(done.path)) == ((1, 1, "complete"),) * 2


@pytest.mark.parametrize("name", ["manifest.json", "plan.json", "episodes.jsonl", "summary.json"])
def test_a_changed_file_is_noticed(run: Path, tmp_path: Path, name: str) -> None:
    path = Path(shutil.copytree(run, tmp_path / "changed"))
    if name == "summary.json":
        summary = json.loads((path / name).read_text())
        summary["episodes"]["counted"] = 5
        (path / name).write_text(json.dumps(summary))
        assert read_progress(path).done == 6
        return
    text = (path / name).read_text()
    (path / name).write_text(text.replace("1", "7", 3))
    with pytest.raises(DataError):
        read_progress(path)
