"""`fssbench report` as a user types it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result
from messages import error_names
from registries import add_lazily
from report_factory import make_cell, make_run

from fssbench.api import Results
from fssbench.cli import main
from fssbench.plugins.registry import REPORTERS

FORMS = """
from pathlib import Path
from fssbench.api import Reporter

class Plain(Reporter):
    name = "plain"
    title = "plain"

    def write(self, results, folder):
        path = folder / "plain.txt"
        path.write_text("plain")
        return [path]

class Formed(Plain):
    name = "formed"
    styles = ("round", "square")

    def write(self, results, folder, *, style=None):
        path = folder / "formed.txt"
        path.write_text(str(style))
        return [path]

class Asked(Plain):
    name = "asked"
    on_request = True

    def write(self, results, folder):
        (folder / "asked.txt").write_text("")
        return [folder / "asked.txt"]

class Wanting(Plain):
    name = "wanting"

    @classmethod
    def lacking(cls):
        return "needs ink. Next: `pip install ink`"

class Raises(Plain):
    name = "raises"

    @classmethod
    def lacking(cls):
        raise RuntimeError("no idea")
"""

PLUGIN = """
from pathlib import Path
from fssbench.api import Reporter

class Broken(Reporter):
    name = "broken-one"
    title = "fails"

    def write(self, results, folder):
        raise RuntimeError("no \\x1b[31mink")

class Counts(Reporter):
    name = "counts"
    title = "number of runs"

    def write(self, results, folder):
        path = folder / "counts.txt"
        path.write_text(str(len(results.runs)))
        return [path]
"""


@pytest.fixture
def result(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments with which the command calls `collect`; set `results` to what `collect` returns."""
    cell = make_cell([make_run()])
    request: dict[str, Any] = {"results": Results(tuple(cell.folds.values()), (cell,), 200, 0)}

    def collect(paths: Any, *, resamples: int, seed: int) -> Results:
        request.update(paths=[str(p) for p in paths], resamples=resamples, seed=seed)
        return request["results"]  # type: ignore[no-any-return]

    module = ModuleType("fssbench.analysis.collect")
    module.collect = collect  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fssbench.analysis.collect", module)
    return request


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def test_writes_every_format(result: dict[str, Any], tmp_path: Path) -> None:
    answer = invoke("some/runs", "-o", tmp_path / "out", "--resamples", 77, "--seed", 5)
    assert answer.exit_code == 0, answer.output
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {
        "report.html",
        "report.md",
        "report.tex",
        "results.csv",
        "results.json",
    }
    assert (result["paths"], result["resamples"], result["seed"]) == (["some/runs"], 77, 5)
    lines = answer.stdout.splitlines()
    assert lines[0].split("\t")[:4] == ["benchmark", "method", "backbone", "shot"]
    assert len(lines) == 1 + len(result["results"].cells)
    (line,) = (line for line in answer.stderr.splitlines() if "report.html" in line)
    assert line.startswith(f"open {tmp_path / 'out' / 'report.html'} (")
    assert "results.csv" not in answer.stderr  # one line for all files, however many


def test_default_folder_of_runs(result: dict[str, Any], tmp_path: Path) -> None:
    assert invoke("-o", tmp_path, "--format", "csv").exit_code == 0
    assert result["paths"] == ["runs"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["episodes.csv", "results.csv"]


def test_without_a_page_the_first_file_is_named(result: dict[str, Any], tmp_path: Path) -> None:
    answer = invoke("-o", tmp_path, "--format", "csv,markdown")
    assert answer.stderr.splitlines()[-1] == f"wrote {tmp_path / 'results.csv'} (2 more files in {tmp_path})"
    answer = invoke("-o", tmp_path, "--format", "markdown")
    assert answer.stderr.splitlines()[-1] == f"wrote {tmp_path / 'report.md'}"


def test_standard_output_holds_only_json_if_it_is_asked_for(result: dict[str, Any], tmp_path: Path) -> None:
    answer = invoke("-o", tmp_path, "--format", "markdown,csv", "--json")
    rows = [json.loads(line) for line in answer.stdout.splitlines()]
    cells = [row for row in rows if "miou" in row]
    assert cells[0]["miou"] == result["results"].cells[0].miou.value
    assert [Path(row["written"]).name for row in rows if "written" in row] == [
        "report.md",
        "results.csv",
        "episodes.csv",
    ]


def test_without_runs_the_error_names_the_next_command(result: dict[str, Any], tmp_path: Path) -> None:
    result["results"] = Results((), (), 1000, 0, notes=("runs/x: empty log",))
    answer = invoke("elsewhere", "-o", tmp_path)
    assert answer.exit_code == 3
    assert error_names(answer.stderr, "no runs in elsewhere", "runs/x: empty log", "Next: `fssbench run")


def test_unknown_format_names_neighbours(result: dict[str, Any], tmp_path: Path) -> None:
    answer = invoke("-o", tmp_path, "--format", "htm")
    assert answer.exit_code == 2
    assert "Did you mean html?" in answer.stderr
    assert "paths" not in result  # nothing was computed
    assert invoke("-o", tmp_path, "--format", ",").exit_code == 2


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_computed(
    result: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    answer = invoke("-o", tmp_path / "file")
    assert answer.exit_code == 3
    assert error_names(answer.stderr, tmp_path / "file", "cannot be written", "Next:", "-o")
    assert "paths" not in result


def test_broken_reporter_stops_no_other(result: dict[str, Any], tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    answer = invoke("-o", tmp_path / "out", "--plugin", plugin)
    assert answer.exit_code == 4
    assert "reporter broken-one failed: RuntimeError: no \\x1b[31mink" in answer.stderr
    assert (tmp_path / "out" / "counts.txt").read_text() == str(len(result["results"].runs))
    assert (tmp_path / "out" / "report.html").is_file()
    assert "Traceback" not in answer.output


def test_a_reporter_that_does_not_load_stops_no_other(result: dict[str, Any], tmp_path: Path) -> None:
    def explode() -> Any:
        raise ImportError("no module named ink")

    add_lazily(REPORTERS, "stranger", "stranger 1.0", explode)
    answer = invoke("-o", tmp_path)
    assert answer.exit_code == 4
    assert "no module named ink" in answer.stderr
    assert (tmp_path / "results.csv").is_file()
    assert invoke("-o", tmp_path, "--format", "stranger").exit_code == 4


@pytest.mark.parametrize("label", ["a[b]", "[/red]", "\x1b[31m", "x\ty\nz"])
def test_names_cannot_command_the_terminal(result: dict[str, Any], tmp_path: Path, label: str) -> None:
    run = make_run(label=label)
    result["results"] = Results((run,), (make_cell([run]),), 100, 0, notes=(label,))
    answer = invoke("-o", tmp_path, "--format", "csv")
    assert answer.exit_code == 0
    assert "\x1b" not in answer.output
    assert len(answer.stdout.splitlines()) == 2
    if label.isprintable():
        assert label in answer.stdout


@pytest.fixture
def forms(result: dict[str, Any], tmp_path: Path) -> Path:
    plugin = tmp_path / "forms.py"
    plugin.write_text(FORMS)
    return plugin


def test_a_style_is_passed_only_to_reporters_that_have_it(forms: Path, tmp_path: Path) -> None:
    answer = invoke("-o", tmp_path, "--plugin", forms, "--format", "plain,formed", "--style", "square")
    assert answer.exit_code == 0, answer.output
    assert (tmp_path / "plain.txt").read_text() == "plain"
    assert (tmp_path / "formed.txt").read_text() == "square"
    invoke("-o", tmp_path, "--plugin", forms, "--format", "formed")
    assert (tmp_path / "formed.txt").read_text() == "None"


def test_a_style_nobody_knows_is_refused_before_anything_is_computed(
    forms: Path, result: dict[str, Any], tmp_path: Path
) -> None:
    answer = invoke("-o", tmp_path, "--plugin", forms, "--format", "plain,formed", "--style", "oval")
    assert answer.exit_code == 2
    assert error_names(answer.stderr, "'oval'", "round (formed), square (formed)", "fssbench list reporters")
    assert "paths" not in result


def test_reporters_on_request_or_without_their_library_are_skipped(forms: Path, tmp_path: Path) -> None:
    answer = invoke("-o", tmp_path / "all", "--plugin", forms)
    assert answer.exit_code == 4  # for `raises` alone
    assert "reporter raises failed: RuntimeError: no idea" in answer.stderr
    assert "note: reporter wanting is skipped: needs ink. Next: `pip install ink`" in answer.stderr
    assert (tmp_path / "all" / "plain.txt").is_file()
    assert not (tmp_path / "all" / "asked.txt").exists()
    assert invoke("-o", tmp_path / "asked", "--plugin", forms, "--format", "asked").exit_code == 0
    assert (tmp_path / "asked" / "asked.txt").is_file()
    answer = invoke("-o", tmp_path / "x", "--plugin", forms, "--format", "wanting")
    assert answer.exit_code == 2
    assert "error: needs ink" in answer.stderr


def test_reporters_are_listed_with_their_styles(forms: Path) -> None:
    answer = CliRunner().invoke(main, ["list", "reporters", "--json", "--plugin", str(forms)])
    rows = {row["name"]: row for row in map(json.loads, answer.stdout.splitlines())}
    assert {"csv", "html", "json", "latex", "markdown", "parquet"} <= set(rows)
    assert (rows["formed"]["styles"], rows["formed"]["status"]) == ("round square", "ok")
    assert rows["wanting"]["status"] == "lacking"
    assert rows["raises"]["status"] == "broken"
