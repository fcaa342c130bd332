"""A small evaluation that is divided and started in several ways; a process that is spawned imports this file."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import fssbench
from fssbench.api import Method
from fssbench.evaluation import engine
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.settings import Settings
from fssbench.runs.merge import merge

EPISODES = 11
"""An odd number, which no number of shards divides."""
Division = tuple[int, int, bool]
"""Shards, workers that read images, and whether the order of the episodes is reversed."""
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
