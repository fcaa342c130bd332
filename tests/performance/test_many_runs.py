"""What hundreds of stored runs cost."""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from many_runs import write_many_runs
from report_factory import make_results

from fssbench.analysis.collect import collect
from fssbench.analysis.results_file import write_results


def test_results_are_written_without_holding_the_file_in_memory(tmp_path: Path) -> None:
    results = make_results()
    results = replace(results, runs=results.runs[:1] * 200, cells=())
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
