"""`fssbench.train`: the same training as the command's, with the same rules and refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command import run_command
from places import TRAIN_PLUGIN

import fssbench
from fssbench.errors import DataError, UsageError
from fssbench.training import trainer

SMALL = {"steps": 4, "val_episodes": 2, "val_every": 2, "device": "cpu"}


@pytest.fixture(autouse=True)
def _no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fssbench.training.trainer.draw_curve", lambda points, path, title: path.touch())


def test_the_command_and_python_train_into_the_same_folder(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["-m", "learner", "-b", "shapes", "--data", shapes, "--device", "cpu", "--steps", 4]
    words += ["--val-episodes", 2, "--val-every", 2, "--seed", 3, "--set", "width=6"]
    done = run_command("train", "--plugin", TRAIN_PLUGIN, *words)
    assert done.exit_code == 0, done.output
    options = {**SMALL, "seed": 3, "config": {"width": 6}, "plugins": TRAIN_PLUGIN, "progress": False}
    again = fssbench.train("learner", "shapes", data=shapes, **options)
    assert again.computed == 0
    assert again.checkpoint == Path("trained/learner-shapes-f0-1shot-s3/checkpoint.safetensors")
    kept = again.checkpoint.read_bytes()
    shutil.rmtree("trained")
    assert fssbench.train("learner", "shapes", data=shapes, **options).checkpoint.read_bytes() == kept


def test_an_interrupt_keeps_the_steps_and_the_same_call_resumes(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fssbench.train("learner", "shapes", data=shapes, out=tmp_path / "whole", progress=False, **SMALL)
    steps = []

    def interrupt(reached: trainer.Progress) -> None:
        steps.append(reached.step)
        if reached.step == 2:
            raise KeyboardInterrupt

    real = trainer.train
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "train", lambda *a, watch, **k: real(*a, watch=interrupt, **k))
        with pytest.raises(KeyboardInterrupt):
            fssbench.train("learner", "shapes", data=shapes, out=tmp_path / "cut", **SMALL)
    again = fssbench.train("learner", "shapes", data=shapes, out=tmp_path / "cut", **SMALL)
    assert steps == [1, 2]
    assert again.computed == 2
    assert again.checkpoint.read_bytes() == whole.checkpoint.read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stepz": 3}, ("stepz", "steps")),
        ({"steps": 0}, ("steps=0", "greater than or equal to 1")),
        ({"optimizer": "lion"}, ("optimizer='lion'", "adam")),
        ({"average": 1.0}, ("average=1.0", "less than 1")),
        ({"size": 8}, ("size=8", "32")),
        ({"steps": 3, "epochs": 1}, ("give one",)),
        ({"fold": 7}, ("no fold 7",)),
        ({"config": {"width": "many"}}, ("width='many'",)),
        ({"config": {"device": "cpu"}}, ("device", "not a setting")),
        ({"device": "warp"}, ("warp", "cannot be used")),
        ({"plugins": ["nowhere.py"]}, ("nowhere.py", "does not exist")),
    ],
)
def test_what_the_command_refuses_is_refused(
    shapes: Path, tmp_path: Path, options: dict[str, object], words: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError) as caught:
        fssbench.train(
            "learner", "shapes", data=shapes, out=tmp_path, **{**SMALL, "device": "cpu", **options}
        )
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "state.safetensors").exists()


def test_an_unknown_method_and_too_many_shots_are_refused(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean learner"):
        fssbench.train("lerner", "shapes", data=shapes, out=tmp_path)
    with pytest.raises(DataError, match="fewer than the 41 images"):
        fssbench.train("learner", "shapes", data=shapes, out=tmp_path, shot=40, device="cpu")
