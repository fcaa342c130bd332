"""Every command of docs/benchmarks.md is run, with its files, and its table names every key."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from command import run_command
from places import DOCS

from fssbench.benchmarks.benchmark_file import BenchmarkFile, SourceTable, TargetTable
from fssbench.benchmarks.catalogue import find_benchmark

TEXT = (DOCS / "benchmarks.md").read_text()
COMMANDS = [line.strip() for line in TEXT.splitlines() if line.startswith("    fssbench ")]
FILES = dict(
    zip(("my-skin.toml", "my-suite.toml"), re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL), strict=True)
)
SHORT = ["--episodes", "1", "--shot", "1"]


def test_every_command_of_the_page(tmp_path: Path, mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    assert len(COMMANDS) == 9
    for command in COMMANDS:
        words = [str(mini) if word == "mini" else word for word in shlex.split(command)[1:]]
        words += SHORT if words[0] == "run" else ["--format", "csv"] if words[0] == "report" else []
        done = run_command(*words, folder=tmp_path)
        assert done.exit_code == 0, (command, done.output)
    assert find_benchmark(tmp_path / "my-skin.toml").id in TEXT


def test_the_table_names_every_key_and_no_other() -> None:
    rows = re.findall(r"^\| (`.+?) \|", TEXT, flags=re.MULTILINE)
    named = {key for row in rows for key in re.findall(r"`([^`]+)`", row)}
    keys = set(BenchmarkFile.model_fields) - {"source", "target", "variants"} | {"[[variants]]"}
    keys |= {f"source.{key}" for key in SourceTable.model_fields}
    keys |= {f"target.{key}" for key in TargetTable.model_fields}
    assert named == keys


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert (DOCS / target).is_file(), target
