"""The plain evaluation counts what the harness counts, so that the two can be timed against each other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import fssbench
from fssbench.data.location import open_dataset
from fssbench.efficiency.plain import evaluate_plainly
from fssbench.runs.store import read_run


@pytest.mark.parametrize(
    ("name", "shot"),
    [
        ("panet", 3),
        ("hsnet", 3),
        pytest.param("panet", 1, marks=pytest.mark.slow),
        pytest.param("hsnet", 1, marks=pytest.mark.slow),
    ],
)
def test_counts_are_those_of_the_harness(name: str, shot: int, mini: Path, tmp_path: Path) -> None:
    plan = fssbench.plan("pascal5i", shot=shot, data=mini, episodes=4, size=96)
    method = fssbench.load_method(name, backbone="efficientnet-lite0", weights="random")
    run = read_run(fssbench.evaluate(method, plan, out=tmp_path).path)
    dataset = open_dataset(plan.dataset, data=plan.data)
    plain = evaluate_plainly(method, dataset, plan, plan.size, torch.device("cpu"))
    for record, (inter, union) in zip(run.records.values(), plain, strict=True):
        assert (
            sum(abs(a - b) for a, b in zip((*record.inter, *record.union), (*inter, *union), strict=True))
            <= 2
        )
