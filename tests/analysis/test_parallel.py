"""Draws in threads: same results in the same order, no more ahead than threads, errors arrive."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from fssbench.analysis.exchange import exchange_p
from fssbench.analysis.parallel import map_in_threads
from fssbench.analysis.statistics import estimate_of_runs


@pytest.mark.parametrize("threads", ["1", "3"])
def test_results_come_in_order_and_an_error_arrives(monkeypatch: pytest.MonkeyPatch, threads: str) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert list(map_in_threads(lambda n: n * n, range(20))) == [n * n for n in range(20)]
    assert list(map_in_threads(str, [])) == []
    with pytest.raises(ZeroDivisionError):
        list(map_in_threads(lambda n: 1 // n, [2, 1, 0, 3, 4]))


def test_no_more_is_computed_ahead_than_there_are_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    begun = 0
    lock = threading.Lock()

    def begin(item: int) -> int:
        nonlocal begun
        with lock:
            begun += 1
        return item

    for taken, _ in enumerate(map_in_threads(begin, range(10)), start=1):
        assert begun <= taken + 2


def test_threads_change_no_number(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [table.make_run(m, fold=f, skill=s) for f in range(3) for m, s in (("a", 0.61), ("b", 0.6))]
    couples = [[(runs[0], runs[1]), (runs[2], runs[3])], [(runs[4], runs[5])]]
    outcomes = []
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    for threads in ("1", "4"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        drawn = [miou.replicates.tobytes() for miou, _ in estimate_of_runs(runs, resamples=300, seed=3)]
        outcomes.append((drawn, exchange_p(couples, draws=300, seed=3)))
    assert outcomes[0] == outcomes[1]


def test_one_at_a_time_if_matrix_products_have_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    here = threading.get_ident()
    assert set(map_in_threads(lambda _: threading.get_ident(), range(5))) == {here}
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    assert here not in set(map_in_threads(lambda _: threading.get_ident(), range(5)))
