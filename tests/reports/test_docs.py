"""docs/reports.md names every format and the files that each writes; tests/docs/test_pages.py runs its commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from places import DOCS
from run_folders import make_plan, write_run

from fssbench.plugins.registry import REPORTERS
from fssbench.reporting import collect_results, write_reports

TEXT = (DOCS / "reports.md").read_text()
NAMED = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", TEXT, flags=re.MULTILINE))


def test_every_format_is_named() -> None:
    assert set(NAMED) == set(REPORTERS.names())


def test_files_that_the_page_names_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for method in ("pmnet", "hsnet"):
        write_run(tmp_path / "runs", make_plan("pascal-to-chestxray", 0, 1, 24), method)
    formats = ["csv", "json", "latex", "markdown"]
    write_reports(collect_results("runs", resamples=50), "report", formats)
    for name in formats:
        for file in re.findall(r"`([\w.]+/?)`", NAMED[name]):
            assert (tmp_path / "report" / file).exists(), file
