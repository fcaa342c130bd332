"""`plan.show(n, method=...)`: the prediction, errors and maps of a method; no run is stored."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_backbone import register_small_backbone

import fssbench
from fssbench.errors import UsageError


def test_it_draws_what_a_run_counts_and_stores_nothing(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = fssbench.plan("pascal-to-chestxray", data=mini, episodes=4, size=64)
    method = fssbench.load_method("panet", plan=plan, backbone=register_small_backbone(), weights="random")
    figure = plan.show([3, 1], method=method)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert not list(tmp_path.iterdir())
    fssbench.evaluate(method, plan, out="runs", progress=False)
    ious = fssbench.results("runs").episodes.set_index("index")["iou"]
    for place in (1, 3):
        assert any(f"episode {place}: class 0 lung, IoU {ious[place]:.1f}" in text for text in texts)
    assert texts.count("prediction") == 2
    assert any(text.startswith("margin of the logits") for text in texts)
    for word in ("miniature", "capped", "not stored as a run"):
        assert word in figure.get_suptitle()
    for wrong in ("panet", object()):
        with pytest.raises(UsageError, match="load_method"):
            plan.show(1, method=wrong)
    with pytest.raises(UsageError, match="no episode 4"):
        plan.show([4], method=method)
