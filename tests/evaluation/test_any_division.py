"""However the work on a plan is divided, started and ordered, its summary and its log have the same bytes."""

from __future__ import annotations

import itertools
import multiprocessing
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import fssbench
from fssbench.api import Method
from fssbench.errors import DataError
from fssbench.evaluation import engine
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.settings import Settings
from fssbench.runs.merge import merge

EPISODES = 11
"""An odd number, which no number of shards divides."""
PARTS = (1, 2, 3, 7)
WORKERS = (0, 1, 4)
Division = tuple[int, int, bool]
"""Shards, workers that read images, and whether the order of the episodes is reversed."""
QUICK: list[Division] = [(2, 1, True), (7, 4, False)]
"""Few and many shards, few and many workers, both orders; the other numbers of shards are in `test_merge.py`."""
RESULTS = ("summary.json", "episodes.jsonl")


@cache
def load_panet() -> Method:
    return fssbench.load_method("panet", backbone="efficientnet-lite0", weights="random")


def run_divided(data: Path, out: Path, division: Division) -> dict[str, bytes]:
    """Evaluate PANet on the miniature in some number of shards, join them, and return the files of the result."""
    parts, workers, is_reversed = division
    plan = fssbench.plan("pascal-to-chestxray", shot=1, data=data, episodes=EPISODES, size=64)
    method = load_panet()
    drawn_order = engine.order_batches_for_reuse
    if is_reversed:
        engine.order_batches_for_reuse = lambda *given: drawn_order(*given)[::-1]
    try:
        for part in range(1, parts + 1):
            shard = (part, parts) if parts > 1 else None
            settings = Settings(out=out / "parts", panels=0, workers=workers, shard=shard, cache_mb=1)
            (done,), failed = evaluate_all([method], plan, settings)
            assert not failed
    finally:
        engine.order_batches_for_reuse = drawn_order
    path = merge([out / "parts"], out / "whole")[0] if parts > 1 else done.path
    return {name: (path / name).read_bytes() for name in RESULTS}


def run_all(data: Path, out: Path, divisions: list[Division], answer: Any) -> None:
    """Do it for several divisions in one process."""
    os.environ["OMP_NUM_THREADS"] = "1"
    answer.send([run_divided(data, out / str(number), each) for number, each in enumerate(divisions)])


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
@pytest.mark.timeout(900)
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
