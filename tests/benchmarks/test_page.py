"""The table of docs/benchmarks.md names every key; its commands are run by tests/docs/test_pages.py."""

from __future__ import annotations

import re
from pathlib import Path

from places import DOCS

from fssbench.benchmarks.benchmark_file import BenchmarkFile, SourceTable, TargetTable
from fssbench.benchmarks.catalogue import find_benchmark

TEXT = (DOCS / "benchmarks.md").read_text()
FILES = dict(
    zip(("my-skin.toml", "my-suite.toml"), re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL), strict=True)
)


def test_the_id_that_the_page_shows_is_that_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "my-skin.toml").write_text(FILES["my-skin.toml"])
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
