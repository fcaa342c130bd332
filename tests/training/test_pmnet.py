"""PMNet trained for a moment on the miniature: the loss falls, and `run` takes what comes of it."""

from __future__ import annotations

from pathlib import Path

import fssbench
from fssbench.runs.early_marks import make_training_marks
from fssbench.training.curves import read_curve
from fssbench.training.settings import Settings
from fssbench.training.trainer import CURVE, train


def test_a_short_training_lowers_the_loss(mini: Path, tmp_path: Path) -> None:
    backbone = {"backbone": "efficientnet-lite0"}
    method = fssbench.load_method("pmnet", affinity="cosine", untrained=True, **backbone)
    settings = Settings(
        "pascal5i",
        tmp_path / "out",
        data=mini,
        steps=20,
        batch=4,
        learning_rate=0.02,
        size=64,
        val_episodes=2,
    )
    done = train(method, settings)
    losses = [p.loss for p in read_curve(tmp_path / "out" / CURVE)]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    loaded = fssbench.load_method("pmnet", affinity="cosine", checkpoint=done.checkpoint, **backbone)
    tested = fssbench.plan("pascal5i", data=mini)
    other_fold = fssbench.plan("pascal5i", fold=1, data=mini)
    part = f"part-trained ({done.best_step} steps on {done.images} images)"
    assert make_training_marks(loaded, tested) == [part]
    assert make_training_marks(loaded, other_fold) == [part, "trained on test classes (5)"]
