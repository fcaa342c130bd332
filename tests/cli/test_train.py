"""`fssbench train`: output, resume, what `run` makes of the checkpoint, several processes, exit codes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from places import TRAIN_PLUGIN
from processes import Started

from fssbench.cli import main
from fssbench.training.curves import read_curve

PLUGIN = TRAIN_PLUGIN
SMALL = ("--steps", "6", "--val-episodes", "3", "--val-every", "3")


@pytest.fixture
def train(shapes, tmp_path):
    """Run `fssbench train` on the shapes, in this process."""

    def call(*more, method="learner", out="out", verb="train"):
        base = [
            verb,
            "--plugin",
            PLUGIN,
            "-m",
            method,
            "-b",
            "shapes",
            "--data",
            shapes,
            "-o",
            tmp_path / out,
        ]
        return CliRunner().invoke(main, [str(a) for a in [*base, "--device", "cpu", *more]])

    return call


def test_results_are_data_and_talk_is_talk(train, tmp_path):
    result = train(*SMALL, "--json")
    assert result.exit_code == 0, result.stderr
    (row,) = map(json.loads, result.stdout.splitlines())
    assert (row["method"], row["benchmark"], row["steps"], row["computed"]) == ("learner", "shapes", 6, 6)
    assert row["selection"] == "held-out training images"
    assert row["checkpoint"] == str(tmp_path / "out" / "checkpoint.safetensors")
    assert "training learner on shapes" in result.stderr
    assert (tmp_path / "out" / "curve.png").stat().st_size > 5000
    again = train(*SMALL)
    assert again.stdout.startswith(f"{row['checkpoint']}: already complete, 6 steps, loss ")
    assert "Next: `fssbench run -m learner" in again.stderr
    assert train(*SMALL, "--quiet").stderr == ""


def test_run_reads_the_checkpoint_and_marks_it(train, tmp_path):
    assert train(*SMALL, "--select-on-test").exit_code == 0
    checkpoint = tmp_path / "out" / "checkpoint.safetensors"
    options = ("--checkpoint", checkpoint, "--episodes", "3", "-k", "1", "--panels", "0")
    result = train(*options, "--json", verb="run", out="runs")
    assert result.exit_code == 0, result.stderr
    row = json.loads(result.stdout)
    assert row["marks"][1:] == ["selected on test", "trained on test classes (3)"]
    assert "note: learner: checkpoint trained on test classes (3), on shapes fold 0" in result.stderr


def test_a_training_in_stages_names_its_next_command_until_it_can_be_run(train, tmp_path):
    lacking = train(*SMALL, method="staged")
    assert lacking.exit_code == 2
    assert "`fssbench train --method staged --stage sorting --plugin" in lacking.stderr
    first = train("--steps", "2", "--stage", "sorting", method="staged", out="first")
    assert first.exit_code == 0, first.stderr
    start = tmp_path / "first" / "checkpoint.safetensors"
    assert f"Next: `fssbench train -m staged -b shapes --start {start}" in first.stderr
    options = ("--checkpoint", start, "--episodes", "3", "-k", "1", "--panels", "0")
    refused = train(*options, method="staged", verb="run", out="runs")
    assert refused.exit_code == 3
    assert f"train --method staged --start {start}" in refused.stderr
    last = train(*SMALL, "--start", start, method="staged", out="last")
    assert last.exit_code == 0, last.stderr
    options = ("--checkpoint", tmp_path / "last" / "checkpoint.safetensors", *options[2:])
    result = train(*options, "--json", method="staged", verb="run", out="runs")
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(
    ("more", "method", "code", "message"),
    [
        (["--steps", "3", "--epochs", "1"], "learner", 2, "give one"),
        ([], "frozen", 2, "has no recipe"),
        ([], "lerner", 2, "Did you mean learner"),
        (["--fold", "7"], "learner", 2, "no fold 7"),
        (["--set", "width=many"], "learner", 2, "setting width='many'"),
        (["--shot", "40"], "learner", 3, "fewer than the 41 images"),
        (["--size", "8"], "learner", 2, "--size"),
        (["--device", "warp"], "learner", 2, "device 'warp' cannot be used"),
    ],
)
def test_mistakes_end_in_their_code_without_a_traceback(train, more, method, code, message):
    result = train(*more, method=method)
    assert result.exit_code == code, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_nan_ends_in_the_plugin_code(train, monkeypatch, tmp_path):
    monkeypatch.setenv("TRAIN_NAN", "2")
    result = train("--val-episodes", "0")
    assert result.exit_code == 4
    assert "step 2, episodes 0 (class " in result.stderr
    assert (tmp_path / "out" / "state.safetensors").is_file()


def test_plain_progress_lines_in_a_pipe(train, monkeypatch):
    monkeypatch.setattr("fssbench.progress.EVERY", 0.0)
    result = train(*SMALL)
    lines = [line for line in result.stderr.splitlines() if "loss" in line and "s left" in line]
    assert len(lines) == 6
    assert lines[-1].startswith("6/6 ")
    assert "loss 0." in lines[-1]
    assert "validation mIoU" in lines[-1]


def run_with_torchrun(words: list[object], folder: Path, *options: str) -> str:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        *options,
    ]
    # a crash outside Python (seen once on a busy machine) then says where it happened
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    command += ["-m", "fssbench", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_two_forks(words: list[object], folder: Path) -> str:
    """Two processes with the variables that torchrun sets for them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {**os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [Started(words, folder, {**common, "RANK": rank, "LOCAL_RANK": rank}) for rank in ("0", "1")]
    printed = [rank.communicate() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], printed
    return "".join(out for out, _ in printed)


@pytest.mark.parametrize(
    ("norm", "launch"),
    [
        # the same through torchrun, whose three imports of torch take most of its time
        pytest.param("false", run_with_torchrun, marks=pytest.mark.slow),
        pytest.param("true", run_with_torchrun, marks=pytest.mark.slow),
        ("true", run_two_forks),
    ],
)
def test_two_processes_follow_one_with_the_double_batch(train, shapes, tmp_path, norm, launch):
    """The loss curve of the same episodes, to rounding; validation is shared out and equal."""
    options = ["--steps", "5", "--val-episodes", "4", "--val-every", "2", "--set", f"norm={norm}"]
    assert train(*options, "--batch", "4").exit_code == 0
    words = ["train", "--plugin", PLUGIN, "-m", "learner", "-b", "shapes", "--data", shapes]
    words += ["-o", tmp_path / "two", "--device", "cpu", "--batch", "2", *options]
    assert len(launch(words, tmp_path).splitlines()) == 1, "one process prints"
    one, two = (read_curve(tmp_path / name / "curve.csv") for name in ("out", "two"))
    assert [p.loss for p in two] == pytest.approx([p.loss for p in one], rel=1e-5)
    assert [p.val_miou for p in two] == pytest.approx([p.val_miou for p in one], abs=1.0)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_training_goes_on_after_a_killed_process(shapes, tmp_path, monkeypatch):
    """torchrun starts both again, and they end with the weights of a training that nobody disturbed."""
    options = ["--steps", "16", "--batch", "1", "--val-episodes", "0", "--save-every", "4", "--device", "cpu"]
    words = ["train", "--plugin", PLUGIN, "-m", "learner", "-b", "shapes", "--data", shapes, *options]
    run_with_torchrun([*words, "-o", tmp_path / "whole"], tmp_path)
    monkeypatch.setenv("TRAIN_KILL", str(tmp_path / "killed"))
    printed = run_with_torchrun(
        [*words, "-o", tmp_path / "killed-one", "--json"], tmp_path, "--max-restarts", "2"
    )
    assert (tmp_path / "killed").exists()
    (row,) = map(json.loads, printed.splitlines())
    assert row["steps"] == 16
    assert row["computed"] <= 8, "the second start went on after the state of step 8, or of the last step"
    one, two = (tmp_path / name / "checkpoint.safetensors" for name in ("whole", "killed-one"))
    assert one.read_bytes() == two.read_bytes()
    curves = [[(p.step, p.loss) for p in read_curve(f.parent / "curve.csv")] for f in (one, two)]
    assert curves[0] == curves[1]
