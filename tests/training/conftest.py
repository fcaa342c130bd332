"""A training of the learner of `tests/support/train_plugin.py`."""

from __future__ import annotations

import pytest

import fssbench
from fssbench.training.settings import Settings
from fssbench.training.trainer import train


@pytest.fixture
def training(shapes, tmp_path, monkeypatch):
    """Train the learner: 12 steps of 4 episodes unless said otherwise, without the picture."""
    monkeypatch.setattr("fssbench.training.trainer.draw_curve", lambda points, path, title: path.touch())

    def run(name="learner", out="out", config=None, watch=lambda _: None, tell=lambda _: None, **settings):
        method = fssbench.load_method(name, untrained=True, seed=settings.get("seed", 0), **(config or {}))
        chosen = {"data": shapes, "val_episodes": 6, "val_every": 4, "save_every": 3, **settings}
        return method, train(method, Settings("shapes", tmp_path / out, **chosen), watch=watch, tell=tell)

    return run
