"""Whole runs of several methods on a device, for tests on a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fssbench.evaluation.settings import Evaluation, Settings
from fssbench.evaluation.suite import Request, execute, prepare
from fssbench.runs.store import EpisodeRecord, read_run


def run(
    out: Path, device: str, data: Path, benchmark: str, *methods: str, size: int = 192, **settings: Any
) -> list[Evaluation]:
    """Evaluate methods on twelve episodes of a benchmark, and raise the first failure."""
    request = Request(
        methods=methods,
        benchmarks=(benchmark,),
        folds=(0,),
        shots=(1,),
        episodes=12,
        size=size,
        data=str(data),
        backbone="efficientnet-lite0",
        settings=Settings(out=out, device=device, panels=0, **settings),
    )
    done: list[Evaluation] = []
    for _, evaluations, failures in execute(prepare(request)):
        if failures:
            raise failures[0][1]
        done += evaluations
    return done


def records(evaluation: Evaluation) -> dict[int, EpisodeRecord]:
    """Read the counts of a run from its folder."""
    return read_run(evaluation.path).records
