"""Work in a forked process: the same results, errors and warnings as without one."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
from fssbench.reports.sections.drawings import list_drawings
from report_factory import make_results
from run_folders import make_plan, write_run

from fssbench.analysis import paired
from fssbench.analysis.collect import collect
from fssbench.analysis.comparisons import compare_pairs
from fssbench.forks import Fork, can_fork
from fssbench.reporting import write_reports
from fssbench.runs.read_ahead import ReadAhead

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="only Linux forks here")


@pytest.fixture
def forking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork also in a process of several threads, for a function as simple as those here."""
    monkeypatch.setattr("fssbench.forks.can_fork", lambda: True)


@pytest.mark.usefixtures("forking")
def test_a_result_comes_from_a_child_and_what_fails_there_is_computed_here() -> None:
    with Fork(os.getpid) as fork:
        assert fork.begun
        assert fork.result() != os.getpid()
    with Fork(lambda: os.getpid, wanted=False) as fork:
        assert not fork.begun
    here = os.getpid()

    def fail() -> int:
        if os.getpid() == here:
            raise ZeroDivisionError
        os._exit(7)

    with Fork(fail) as fork, pytest.raises(ZeroDivisionError):
        fork.result()

    def warn() -> int:
        warnings.warn("noticed", stacklevel=1)
        return os.getpid()

    with Fork(warn) as fork, pytest.warns(UserWarning, match="noticed"):
        assert fork.result() == here


@pytest.mark.usefixtures("forking")
def test_a_child_that_nobody_waits_for_is_ended() -> None:
    def wait_for_ever() -> None:
        os.read(os.pipe()[0], 1)

    with Fork(wait_for_ever) as fork:
        child = fork._child
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_one_processor_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert not can_fork()


@pytest.mark.usefixtures("forking")
@pytest.mark.parametrize("harm", [b"", b'{"i":0,"c":', b"\n\n"])
def test_runs_read_ahead_are_those_read_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: bytes
) -> None:
    runs = [
        write_run(tmp_path, make_plan("pascal5i", fold, 1, 20), method)
        for fold in (0, 1)
        for method in ("a", "b", "c")
    ]
    log = runs[4] / "episodes.jsonl"
    log.write_bytes(log.read_bytes() + harm)
    (runs[5] / "panels.jsonl").write_bytes(b'{"i":3,"crc":"00000000"}\n')
    outcomes = []
    for fewest in (2, 50):
        monkeypatch.setattr("fssbench.runs.read_ahead.MANY_RUNS", fewest)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            results = collect([tmp_path], resamples=0)
        counts = [(r.slug, r.inter.tolist(), r.queries, [p.index for p in r.panels]) for r in results.runs]
        outcomes.append((counts, results.notes, [str(each.message) for each in said]))
    assert outcomes[0] == outcomes[1]
    monkeypatch.setattr("fssbench.runs.read_ahead.MANY_RUNS", 2)
    with ReadAhead(runs, pictures=True) as ahead:
        assert ahead.take(runs[0]).records is None
        assert ahead.take(runs[5]).panels == {3: (0, 24)}
        assert (ahead.take(runs[4]).records is None) == bool(harm)


@pytest.mark.usefixtures("forking")
def test_a_report_of_two_processes_has_the_bytes_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = make_results()
    drawn = list_drawings(results)[:2]
    monkeypatch.setattr("fssbench.reports.formats.figure_files.list_drawings", lambda _: drawn)
    folders = []
    for fewest in (1, 1000):
        monkeypatch.setattr("fssbench.reporting.MANY_RUNS", fewest)
        monkeypatch.setattr("fssbench.reports.formats.figure_files._MANY", fewest)
        folders.append(tmp_path / str(fewest))
        report = write_reports(results, folders[-1], ["json", "markdown", "csv", "figures"])
        assert [file.name for file in report.files[:4]] == [
            "results.json",
            "report.md",
            "results.csv",
            "episodes.csv",
        ]
        assert not report.broken
    one, other = ({file.relative_to(f): file.read_bytes() for file in f.rglob("*.*")} for f in folders)
    assert one == other


@pytest.mark.usefixtures("forking")
def test_a_reporter_that_fails_in_its_process_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fssbench.reporting.MANY_RUNS", 1)
    monkeypatch.setattr("fssbench.reports.formats.csv_report.name_runs", None)
    report = write_reports(make_results(), tmp_path, ["csv", "json"])
    assert list(report.broken) == ["csv"]
    assert [file.name for file in report.files] == ["results.json"]
    assert not (tmp_path / "results.csv").exists()


@pytest.mark.usefixtures("forking")
def test_families_of_pairs_are_compared_in_two_processes_with_the_figures_of_one(
    table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [table.make_run(m, b, skill=s) for m, s in (("a", 0.7), ("b", 0.6)) for b in ("x", "y", "z")]
    results = table.make_results(*runs)
    plain, compared, outcomes = paired.compute_paired_differences, [], []

    def compute(couples: Any, **options: Any) -> Any:
        compared.append((os.getpid(), len(couples)))
        return plain(couples, **options)

    monkeypatch.setattr(paired, "compute_paired_differences", compute)
    for fewest in (1, 1000):
        monkeypatch.setattr("fssbench.analysis.comparisons.MANY_RUNS", fewest)
        paired._pairs.clear()
        compared.clear()
        outcomes.append(compare_pairs(results, resamples=400))
        here = [number for process, number in compared if process == os.getpid() and number]
        assert len(here) == (2 if fewest == 1 else 3)  # the third is computed in the child
        compared.clear()
        assert compare_pairs(results, resamples=400) == outcomes[-1]
        assert not [number for _, number in compared if number]
    assert outcomes[0] == outcomes[1]
    assert len({pair.difference.value for pair in outcomes[0]}) == 3
