"""What a report says about supports: whether they matter, and how much their choice moves a figure."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fssbench.reports.content.analysis import Analysis
from fssbench.reports.formats.csv_report import CsvReporter
from fssbench.reports.formats.latex import LatexReporter, write_number
from fssbench.reports.formats.markdown import MarkdownReporter, escape
from fssbench.reports.sections.difficulty import make_strata_tables
from fssbench.reports.sections.sensitivity import make_sensitivity_lines, make_support_choice_lines
from manifests import make_manifest
from report_factory import make_cell, make_run, share_results

from fssbench.api import Results, RunResult, build_legend
from fssbench.contracts.support_probes import SupportProbe
from fssbench.reporting import write_reports


def probe(run: RunResult, row: int, *, ignoring: bool) -> SupportProbe:
    answer = int(run.union[row, 1] - run.target[row] + run.inter[row, 1])
    counts = (run.inter[row], run.union[row]) if ignoring else ((90_000, 0), (160_000, 70_000))
    inter, union = (tuple(map(int, each)) for each in counts)
    return SupportProbe(
        index=int(run.indices[row]),
        class_id=(int(run.class_ids[row]) + 1) % 5,
        inverted=False,
        supports=("elsewhere",),
        inter=inter,
        union=union,
        same=answer if ignoring else 0,
        either=answer if ignoring else 2 * answer,
    )


def make_probed(method: str, *, ignoring: bool, number: int = 100) -> RunResult:
    run = make_run(method)
    return replace(run, probes=tuple(probe(run, row, ignoring=ignoring) for row in range(number)))


def write_markdown(results: Results, folder: Path) -> str:
    (file,) = MarkdownReporter().write(results, folder)
    return file.read_text()


def read_rows(results: Results, folder: Path, name: str) -> list[dict[str, str]]:
    """Write the CSV files, and read the rows of one of them."""
    files = {file.name: file for file in CsvReporter().write(results, folder)}
    with files[name].open(newline="") as file:
        return list(csv.DictReader(file))


def collect_lines(make: Any, results: Results) -> Any:
    return make(Analysis(results), build_legend([]))


@pytest.fixture
def probed() -> Results:
    cells = [make_cell([make_probed(m, ignoring=i)]) for m, i in (("pmnet", False), ("panet", True))]
    return replace(share_results(), cells=tuple(cells), runs=tuple(c.folds[0] for c in cells))


def test_a_method_that_ignores_its_supports_is_named(probed: Results, tmp_path: Path) -> None:
    lines = {line.method.split(",")[0]: line for line in collect_lines(make_sensitivity_lines, probed)}
    assert (lines["panet"].verdict, lines["panet"].doubtful) == ("ignores its supports", True)
    assert (lines["pmnet"].verdict, lines["pmnet"].doubtful) == ("depends on its supports", False)
    assert (lines["panet"].changed.text, lines["pmnet"].changed.text) == ("0.0", "100.0")
    text = write_markdown(probed, tmp_path)
    assert {(row["method"], row["changed"]) for row in read_rows(probed, tmp_path, "sensitivity.csv")} == {
        ("panet", "0.0"),
        ("pmnet", "100.0"),
    }
    assert "ignores its supports" in text
    assert "100 |" in text


def test_few_probes_are_said_to_be_few(tmp_path: Path) -> None:
    cell = make_cell([make_probed("panet", ignoring=True, number=6)])
    results = replace(share_results(), cells=(cell,), runs=(cell.folds[0],))
    (line,) = collect_lines(make_sensitivity_lines, results)
    assert (line.verdict, line.episodes) == ("too few queries", "6")
    assert "too few queries" in line.changed.interval


def test_the_choice_of_supports_has_its_table(tmp_path: Path) -> None:
    run = make_run("pmnet")
    block = {**run.manifest.block.as_stored(), "support_sets": 4}
    queries = tuple(f"{c}/{i // 4}" for i, c in enumerate(run.class_ids.tolist()))
    run = replace(run, manifest=make_manifest(**block), queries=queries)
    cell = make_cell([run])
    results = replace(share_results(), cells=(cell,), runs=(run,))
    (line,) = collect_lines(make_support_choice_lines, results)
    assert (line.sets, float(line.half_width.text) > 0) == (4, True)
    assert "choice of supports moves" in write_markdown(results, tmp_path)
    assert read_rows(results, tmp_path, "support_choice.csv")[0]["support_sets"] == "4"


def test_a_report_without_either_says_nothing_about_them(tmp_path: Path) -> None:
    text = write_markdown(share_results(), tmp_path)
    assert "other supports" not in text
    assert "choice of supports" not in text


def test_markdown_has_the_strata_of_the_page(tmp_path: Path) -> None:
    results = share_results()
    tables = make_strata_tables(Analysis(results), build_legend([]))
    text = write_markdown(results, tmp_path)
    for table in tables:
        for row in table.rows:
            figures = " | ".join(f"{entry.text} {entry.interval}".rstrip() for entry in row.entries)
            assert f"| {escape(row.name)} | {row.episodes} | {row.classes} | {figures} |" in text


def test_latex_has_the_same_figures_as_markdown(probed: Results, tmp_path: Path) -> None:
    _, path = LatexReporter().write(probed, tmp_path)
    text, legend = path.read_text(), build_legend([])
    analysis = Analysis(probed)
    for line in make_sensitivity_lines(analysis, legend):
        entries = (line.changed, line.miou, line.other_miou)
        figures = " & ".join(f"{{{write_number(entry)}}}" for entry in entries)
        assert f"& {{{line.replaced_by}}} & {figures} & " in text
        assert f"& {{{line.verdict}}} \\\\" in text
    tables = make_strata_tables(analysis, legend)
    assert {table.what for table in tables} >= {"size", "difficulty"}
    for table in tables:
        for row in table.rows:
            figures = " ".join(f"& {{{write_number(entry)}}}" for entry in row.entries)
            assert f"& {row.episodes} & {{{row.classes.replace('–', '--')}}} {figures} \\\\" in text


def test_a_table_of_an_earlier_report_that_has_no_row_now_is_removed(probed: Results, tmp_path: Path) -> None:
    write_reports(probed, tmp_path, ["csv"])
    assert (tmp_path / "sensitivity.csv").exists()
    (tmp_path / "notes.csv").write_text("mine")
    done = write_reports(share_results(), tmp_path, ["csv"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["episodes.csv", "notes.csv", "results.csv"]
    assert {path.name for path in done.files} == {"episodes.csv", "results.csv"}
