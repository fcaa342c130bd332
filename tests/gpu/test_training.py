"""A training step of every method on a GPU, in single and in mixed precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fssbench.plugins.registry import METHODS
from fssbench.training.settings import Settings
from fssbench.training.trainer import train


@pytest.mark.timeout(300)
@pytest.mark.parametrize("amp", [False, True])
def test_two_steps(
    name: str, amp: bool, device: str, mini: Path, tmp_path: Path, load: Callable[..., Any]
) -> None:
    method = load(name, device)
    if METHODS.get(name).recipe is None or not any(p.requires_grad for p in method.parameters()):
        pytest.skip("has nothing to train")
    stage = next(iter(METHODS.get(name).stages), None)  # a later one starts from a checkpoint of the first
    before = {k: v.clone() for k, v in method.state_dict().items()}
    done = train(
        method,
        Settings(
            "pascal5i",
            tmp_path / "out",
            data=mini,
            steps=2,
            batch=2,
            size=193,
            amp=amp,
            val_episodes=2,
            val_every=2,
            learning_rate=1e-4,
            stage=stage,
        ),
    )
    assert math.isfinite(done.loss)
    after = method.state_dict()
    assert all(bool(v.isfinite().all()) for v in after.values() if v.is_floating_point())
    assert any(not torch.equal(v, before[k]) for k, v in after.items() if v.is_floating_point())
