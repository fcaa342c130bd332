"""Reports from Python: what is written, what is refused, and a reporter that fails beside others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command import run_command
from run_folders import make_plan, write_run

import fssbench
from fssbench.api import DataError, PluginError, Reporter, Results, UsageError
from fssbench.plugins.registry import REPORTERS
from fssbench.reporting import collect_results, select_reporters, write_reports


class Failing(Reporter):
    name = "failing"
    title = "Fails"

    def write(self, results: Results, folder: Path) -> list[Path]:
        raise RuntimeError("no ink")


class Lacking(Reporter):
    name = "lacking"
    title = "Lacks a library"

    @classmethod
    def lacking(cls) -> str:
        return "install ink"

    def write(self, results: Results, folder: Path) -> list[Path]:
        raise AssertionError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for method in ("pmnet", "panet"):
        write_run(tmp_path / "runs", make_plan("pascal-to-chestxray", 0, 1, 24), method)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_files_are_those_of_the_command_line(home: Path) -> None:
    from click.testing import CliRunner

    from fssbench.cli import main

    report = write_reports(collect_results("runs", resamples=50), "python", ["csv", "json", "markdown"])
    words = ["report", "-o", "shell", "--format", "csv,json,markdown", "--resamples", "50"]
    assert CliRunner().invoke(main, words).exit_code == 0
    assert len(report.files) == 4
    for path in report.files:
        assert path.read_bytes() == (home / "shell" / path.name).read_bytes()


def test_failing_reporter_is_named_and_stops_no_other(home: Path) -> None:
    REPORTERS.add("failing", Failing, "test")
    report = write_reports(collect_results("runs", resamples=50), "report", ["failing", "json"])
    assert [path.name for path in report.files] == ["results.json"]
    assert "no ink" in report.broken["failing"]


def test_missing_library_skips_by_default_and_is_refused_by_name(home: Path) -> None:
    REPORTERS.add("lacking", Lacking, "test")
    assert select_reporters().skipped["lacking"] == "install ink"
    with pytest.raises(UsageError, match="install ink"):
        select_reporters(["lacking"])


@pytest.mark.parametrize(
    ("formats", "style"), [(["htlm"], None), ([], None), ("html", None), (["csv"], "paper"), (None, "papier")]
)
def test_wrong_formats_and_styles_are_refused_before_anything_is_written(
    home: Path, formats: list[str] | None, style: str | None
) -> None:
    results = collect_results("runs", resamples=50)
    with pytest.raises(UsageError):
        write_reports(results, "report", formats, style=style)
    assert not (home / "report").exists()


def test_folder_without_runs_is_refused(home: Path) -> None:
    with pytest.raises(DataError, match="none"):
        collect_results(home / "none")


def test_changes_since_another_folder_are_listed(home: Path) -> None:
    results = collect_results("runs", compare_to=home / "runs", resamples=50)
    assert results.changes is not None
    assert results.changes.unchanged == len(results.cells)


def test_one_call_writes_what_the_command_writes(tmp_path: Path) -> None:
    for method in ("pmnet", "panet"):
        write_run(tmp_path / "runs", make_plan("pascal-to-isic2018", 0, 1, 8), method, marks=("miniature",))
    written = fssbench.report(tmp_path / "runs", out=tmp_path / "python", formats=["markdown", "csv"])
    done = run_command("report", tmp_path / "runs", "-o", tmp_path / "command", "--format", "markdown,csv")
    assert done.exit_code == 0
    for name in ("results.csv", "episodes.csv"):
        assert (tmp_path / "python" / name).read_bytes() == (tmp_path / "command" / name).read_bytes()
    assert written.page == tmp_path / "python" / "report.md"
    shown = written._repr_html_()
    assert shown.count("too few queries (") == 2
    assert shown.count("miniature") == 2
    assert "there is no interval, no best method and no verdict" in shown


def test_a_reporter_that_fails_is_an_error_after_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "runs", make_plan("pascal-to-isic2018", 0, 1, 8), "pmnet")
    REPORTERS.add("failing", Failing, "test")
    with pytest.raises(PluginError, match="no ink"):
        fssbench.report(tmp_path / "runs", out=tmp_path / "out", formats=["failing", "csv"])
    assert (tmp_path / "out" / "results.csv").is_file()


@pytest.mark.parametrize("options", [{"resamples": 0}, {"seed": -1}, {"formats": "html"}, {"style": "papr"}])
def test_options_that_are_not_allowed_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    write_run(tmp_path / "runs", make_plan("pascal-to-isic2018", 0, 1, 8), "pmnet")
    with pytest.raises(UsageError):
        fssbench.report(tmp_path / "runs", out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
