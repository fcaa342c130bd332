"""Data folders that may not be written, and folders of every name: a run works, and writes only its output."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import run_command
from places import NULL_PLUGIN
from rights import permissions_respected

from fssbench.runs.store import find_run_folders, read_run

_watched: list[str] = []
_written: list[str] = []
NAMES = (
    *(
        "with spaces",
        "ü",
        "日本",
        "\U0001f600",
        "#",
        "%41",
        "new\nline",
        "x" * 200,
        "dot.",
        "CON",
        "a=b",
        "~tilde",
    ),
    *(
        "[red]",
        "$(x)",
        "`x`",
        "a;b",
        "a|b",
        "a&b",
        "*",
        "?",
        "'",
        '"',
        "\\",
        "{fold}",
        "-leading",
        "\x1b[1m",
        "é" * 60,
    ),
    *("..x", "tab\t", "\u202eabc"),
)
QUICK = ("new\nline", "{fold}", "[red]", "日本")


def watch_writes(event: str, arguments: tuple[Any, ...]) -> None:
    """Note each file below a watched folder that is opened for writing, made, moved or removed."""
    if not _watched or event not in {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink"}:
        return
    if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return
    for each in arguments[:2]:
        if isinstance(each, str | bytes) and os.fsdecode(each).startswith(tuple(_watched)):
            _written.append(f"{event} {os.fsdecode(each)}")


@pytest.fixture(scope="module", autouse=True)
def _hook() -> None:
    sys.addaudithook(watch_writes)  # it can never be removed, and does nothing while no folder is watched


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Context in which nothing in a folder may be written, and each attempt is noted."""
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    _watched.append(str(folder))
    try:
        with permissions_respected():
            yield
    finally:
        _watched.clear()
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_nothing_is_written_into_read_only_data(tmp_path: Path) -> None:
    drawn = run_command("data", "mini", tmp_path / "data", "--dataset", "chestxray")
    assert drawn.exit_code == 0, drawn.output
    line = "run -m panet -b pascal-to-chestxray -k 1 --episodes 2 --size 32 --backbone efficientnet-lite0 -q"
    _written.clear()
    with read_only(tmp_path / "data"):
        done = run_command(*line.split(), "--data", tmp_path / "data", "-o", tmp_path / "runs")
        looked = run_command("data", "verify", "chestxray", "--data", tmp_path / "data")
    assert (done.exit_code, looked.exit_code) == (0, 0), done.output + looked.output
    assert _written == []


def run_below(null: Any, folder: Path) -> None:
    """Run, resume and report with everything below a folder of this name."""
    folder.mkdir()
    words = (
        *("run", "--plugin", NULL_PLUGIN, "-m", "null", "-b", "nulldata"),
        *("-k", "1", "--episodes", "2", "--size", "64", "-q", "--data", null.data, "-o", folder / "runs"),
    )
    for _ in range(2):
        done = run_command(*words)
        assert done.exit_code == 0, done.output
    (path,) = find_run_folders(folder / "runs")
    assert read_run(path).status == "complete"
    scored = run_command("score", folder / "runs", "--json")
    assert scored.exit_code == 0, scored.output
    shown = run_command("report", folder / "runs", "-o", folder / "report", "--format", "json")
    assert shown.exit_code == 0, shown.output
    assert (folder / "report" / "results.json").is_file()


@pytest.mark.parametrize("name", QUICK)
def test_folders_of_a_few_names(null: Any, name: str, tmp_path: Path) -> None:
    run_below(null, tmp_path / name)


@pytest.mark.nightly
@pytest.mark.parametrize("name", NAMES)
def test_folders_of_thirty_names(null: Any, name: str, tmp_path: Path) -> None:
    run_below(null, tmp_path / name)
