"""However the work on a plan is divided, started and ordered, its summary and its log have the same bytes."""

from __future__ import annotations

import itertools
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from divided_runs import EPISODES, Division, run_all, run_divided

from fssbench.errors import DataError
from fssbench.runs.merge import merge

PARTS = (1, 2, 3, 7)
WORKERS = (0, 1, 4)
QUICK: list[Division] = [(2, 1, True), (7, 4, False)]
"""Few and many shards, few and many workers, both orders; the other numbers of shards are in `test_merge.py`."""


@pytest.fixture(scope="module")
def expected(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The result of one process without readers, in the order of the plan."""
    return run_divided(mini, tmp_path_factory.mktemp("plain"), (1, 0, False))


@pytest.mark.parametrize("division", QUICK)
def test_a_few_divisions_give_the_same_bytes(
    division: Division, expected: dict[str, bytes], mini: Path, tmp_path: Path
) -> None:
    assert run_divided(mini, tmp_path, division) == expected


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_every_division_gives_the_same_bytes(
    start: str, expected: dict[str, bytes], mini: Path, tmp_path: Path
) -> None:
    divisions = list(itertools.product(PARTS, WORKERS, [False, True]))
    context = multiprocessing.get_context(start)
    here, there = context.Pipe()
    process = context.Process(target=run_all, args=(mini, tmp_path, divisions, there))  # type: ignore[attr-defined]
    process.start()
    there.close()
    results = here.recv()
    process.join()
    for division, result in zip(divisions, results, strict=True):
        assert result == expected, division


@pytest.mark.parametrize("lacking", [1, 7])
def test_a_missing_part_is_refused_by_its_number(null: Any, lacking: int) -> None:
    plan = null.plan(EPISODES)
    for part in {*range(1, 8)} - {lacking}:
        null.run("parts", plan, shard=(part, 7))
    with pytest.raises(DataError, match=f"{lacking}/7 "):
        merge([null.folder / "parts"], null.folder / "whole")
    assert not [*(null.folder / "whole").glob("*")]
