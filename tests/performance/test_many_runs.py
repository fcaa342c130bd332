"""What hundreds of stored runs cost."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from many_runs import write_many_runs
from report_factory import make_results

from fssbench.analysis.collect import collect
from fssbench.analysis.results_file import write_results

MOST = {"list": 1.3, "compare": 4.0, "report": 16.0, "list of 500": 2.2, "compare of 500": 14.0}
"""Most processor time of a command, in that of an interpreter which imports click, numpy, pydantic and scipy."""


def test_results_are_written_without_holding_the_file_in_memory(tmp_path: Path) -> None:
    results = make_results()
    results = replace(results, runs=results.runs[:1] * 80, cells=())
    path = tmp_path / "results.json"
    write_results(results, path)  # what is imported or cached once does not count
    tracemalloc.start()
    try:
        write_results(results, path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size / 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_reading_500_runs_costs_no_more_per_run_than_reading_100(tmp_path: Path) -> None:
    seconds = {}
    for methods in (5, 25):
        root = tmp_path / str(methods)
        written = write_many_runs(root, plans=20, methods=methods, episodes=1000, panels=4)
        start = time.process_time()
        results = collect([root], resamples=0)
        seconds[written] = time.process_time() - start
        assert len(results.runs) == written
    print(seconds)
    assert seconds[500] < 2 * 5 * seconds[100]


def measure_processor_seconds(*command: str) -> float:
    """Measure the processor time of a child process in one thread."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *command],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def measure_libraries() -> float:
    """Measure the processor time of an interpreter that imports what every command imports."""
    return min(
        measure_processor_seconds("-c", "import click, numpy, pydantic, scipy.stats") for _ in range(3)
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_list_compare_and_report_of_80_runs_cost(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert write_many_runs(runs, plans=8, methods=10, episodes=1000, panels=8) == 80
    libraries = measure_libraries()
    ratios = {
        verb: measure_processor_seconds("-m", "fssbench", *words) / libraries
        for verb, words in {
            "list": ("list", "runs", "-o", str(runs)),
            "compare": ("compare", "--runs", str(runs), "--json"),
            "report": ("report", str(runs), "-o", str(tmp_path / "report")),
        }.items()
    }
    print(libraries, ratios)
    assert ratios["list"] < MOST["list"]
    assert ratios["compare"] < MOST["compare"]
    assert ratios["report"] < MOST["report"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_list_and_compare_of_500_runs_cost(tmp_path: Path) -> None:
    assert write_many_runs(tmp_path, plans=20, methods=25, episodes=1000, panels=0) == 500
    libraries = measure_libraries()
    listed = measure_processor_seconds("-m", "fssbench", "list", "runs", "-o", str(tmp_path)) / libraries
    compared = (
        measure_processor_seconds("-m", "fssbench", "compare", "--runs", str(tmp_path), "--json") / libraries
    )
    print(libraries, listed, compared)
    assert listed < MOST["list of 500"]
    assert compared < MOST["compare of 500"]
