"""A standard stream that is closed stops no command, and no file takes its place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "fssbench"]


def run_without(numbers: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    closed = " ".join({"0": "<&-", "1": ">&-", "2": "2>&-"}[each] for each in numbers)
    line = ["sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, *arguments]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_all_streams_closed(tmp_path: Path) -> None:
    done = run_without("012", "list", "suites", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_standard_error_the_result_is_whole_and_an_error_has_its_code(tmp_path: Path) -> None:
    done = run_without("2", "list", "suites", "--json", folder=tmp_path)
    assert done.returncode == 0
    assert all(json.loads(line) for line in done.stdout.splitlines())
    assert run_without("2", "list", "nothing", folder=tmp_path).returncode == 2


def test_json_without_standard_output_is_an_error(tmp_path: Path) -> None:
    done = run_without("1", "list", "suites", "--json", folder=tmp_path)
    assert done.returncode == 2
    assert "standard output" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_standard_output_is_an_error_in_one_sentence(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "list", "suites"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "space" in done.stderr
