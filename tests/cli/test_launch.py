"""`fssbench launch` without a cluster: what would be submitted, what is refused, what status and again make of it.

Programs that stand in for Slurm's keep what they are given; tests/slurm uses the real ones.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from messages import error_names

from fssbench.cli import main
from fssbench.launching.job import Job
from fssbench.launching.record import Outcome, locate_outcome, read_launch, read_outcome, write_outcome
from fssbench.threads import NUMBER_VARIABLES

RUN = ("run", "-m", "panet", "-m", "all-foreground", "-b", "pascal-to-chestxray", "-k", "1", "--data", "mini")
NOW = "2026-01-01T00:00:00+00:00"


def launch(*words: object):
    return CliRunner().invoke(main, ["launch", *map(str, words)])


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for the commands of Slurm; jobs that squeue lists are in the file `queue`."""
    pytest.importorskip("submitit")
    programs = {
        "sbatch": f"n=$(cat {tmp_path}/n 2>/dev/null || echo 10); echo $((n+1)) > {tmp_path}/n; "
        f'cp "$1" {tmp_path}/script$n; [ -e {tmp_path}/full ] && [ $n -gt 10 ] && echo "QOS limit" >&2 && exit 1; '
        'echo "Submitted batch job $n"',
        "squeue": f"cat {tmp_path}/queue",
        "scontrol": 'echo "MaxArraySize            = 4"',
        "scancel": f'echo "$@" > {tmp_path}/cancelled',
        "srun": "true",
    }
    (tmp_path / "bin").mkdir()
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "queue").write_text("")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_dry_run_lists_commands_that_run_accepts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "c.toml"
    config.write_text('seed = [0, 4]\nworkers = 0\nset = { temperature = "3" }\nsave-masks = true\n')
    asked = (*RUN, "--config", config, "--device", "cuda:3", "--threads", "2", "--episodes", "6")
    result = launch("--slurm", "--shards", 2, "--dry-run", "--no-check", "--json", *asked)
    assert result.exit_code == 0, result.stderr
    *tasks, merge, report = map(json.loads, result.stdout.splitlines())
    assert [task["episodes"] for task in tasks] == [6, 6, 6, 6]
    words = tasks[0]["words"]
    for pair in ("--seed 0 --seed 4", "--shard 1/2", "--set temperature=3", "--workers 0", "--threads 2",
                 "--device cuda:3", "--episodes 6", "--data mini"):  # fmt: skip
        assert pair in shlex.join(words)
    assert "--save-masks" in words
    assert "--config" not in words
    assert (merge["words"][0], report["words"][0]) == ("merge", "report")
    import click

    from fssbench.cli.run_words import parse_run

    for task in tasks:  # what a node is given parses as a run command
        parsed = parse_run(click.Context(main), task["words"][1:])
        assert parsed.params["seeds"] == (0, 4)
        assert parsed.params["methods"] == (task["method"],)
    assert not {"launches", "runs", "l"} & {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_dry_run_shows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ("--set", "api_key=S3CRET", "--set", "url=https://anna:S3CRET@host/x")
    result = launch("--slurm", "--dry-run", "--no-check", *form, *RUN, *settings)
    assert result.exit_code == 0, result.stderr
    assert "S3CRET" not in result.output
    assert "api_key=[hidden]" in result.stdout


def test_threads_of_the_tasks_are_not_those_of_the_process_that_launches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in NUMBER_VARIABLES:
        monkeypatch.setenv(name, "1")
    before = torch.get_num_threads()
    try:
        result = launch("--slurm", "--dry-run", "--no-check", "--json", *RUN, "--threads", before + 1)
        assert result.exit_code == 0, result.stderr
        assert torch.get_num_threads() == before
        assert [os.environ[name] for name in NUMBER_VARIABLES] == ["1", "1"]
    finally:
        torch.set_num_threads(before)


def test_a_dry_run_says_what_it_costs_and_checks_what_tasks_check() -> None:
    cheap = ("run", "-m", "all-foreground", "-b", "pascal-to-chestxray", "-k", "1", "--data", "mini")
    result = launch("--slurm", "--dry-run", "--time", "2-00:00:00", "--gres", "gpu:1", *cheap)
    assert result.exit_code == 0, result.stderr
    assert "not measured: all-foreground 1-shot 192 px" in result.stdout
    assert "--time 2880 min, --gres gpu:1" in result.stdout
    wrong = launch("--slurm", "--dry-run", *cheap, "-m", "ssp", "--checkpoint", "nothing.pth")
    assert wrong.exit_code == 3
    assert "nothing.pth" in wrong.stderr


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--dry-run", *RUN), ("engine", "--slurm")),
        (("--slurm", *RUN, "--shard", "1/2"), ("--shard", "--shards N")),
        (("--slurm", *RUN, "--first", "2"), ("--first",)),
        (("--slurm", "--dry-run", *RUN, "--nonsense"), ("--nonsense",)),
        (("--slurm", "--dry-run", "run", "-b", "pascal5i"), ("no method",)),
        (("--slurm", "--time", "soon", *RUN), ("'soon'", "12:00:00")),
        (("--slurm", "--sbatch", "account", *RUN), ("NAME=VALUE",)),
        (("--slurm", "walk"), ("walk",)),
    ],
)
def test_mistakes_are_refused(words: tuple[str, ...], names: tuple[str, ...]) -> None:
    result = launch(*words)
    assert result.exit_code == 2, result.stdout
    assert error_names(result.stderr, *names)
    assert "Traceback" not in result.stderr


def test_a_machine_without_slurm_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    result = launch("--slurm", *RUN)
    assert result.exit_code == 2
    assert error_names(result.stderr, "sbatch", "--dry-run")
    assert launch("status", tmp_path).exit_code == 3


def test_arrays_follow_one_another_and_the_report_follows_all(slurm: Path) -> None:
    options = ("--shards", 2, "--array", 3, "--gres", "gpu:1", "--sbatch", "account=vision", "--folder", "l")
    result = launch("--slurm", *options, "--no-check", "--json", *RUN)
    assert result.exit_code == 0, result.stderr
    jobs = [json.loads(line)["job"] for line in result.stdout.splitlines()]
    assert jobs == ["10_0", "10_1", "10_2", "11", "12", "13"], (
        "MaxArraySize is 4, so an array has three tasks"
    )
    first, second, merge, report = ((slurm / f"script{n}").read_text() for n in (10, 11, 12, 13))
    for line in (
        "--array=0-2%3",
        "--gres=gpu:1",
        "--account=vision",
        "--requeue",
        "--time=60",
        "--signal=USR2@90",
    ):
        assert f"#SBATCH {line}\n" in first
    assert "--dependency=afterany:10\n" in second
    assert "--dependency=afterany:10:11\n" in merge
    assert "--gres" not in merge
    assert "--dependency=afterany:12\n" in report
    assert "wckey" not in first
    assert (slurm / "l").stat().st_mode & 0o077 == 0, "commands may hold secrets"
    twice = launch("--slurm", "--folder", "l", *RUN)
    assert twice.exit_code == 2
    assert error_names(twice.stderr, "holds a launch already", "status")


def test_what_slurm_refuses_leaves_no_job_behind(slurm: Path) -> None:
    (slurm / "full").touch()
    result = launch("--slurm", "--folder", "l", "--shards", 2, "--no-check", *RUN)
    assert result.exit_code == 3
    assert error_names(result.stderr, "Slurm refused", "QOS limit")
    assert (slurm / "cancelled").read_text() == "10\n"


def test_status_and_again(slurm: Path) -> None:
    launch("--slurm", "--folder", "l", "--shards", 2, "--no-check", *RUN)
    folder = Path("l")

    def store(number: int, code: int | None) -> None:
        write_outcome(locate_outcome(folder, number), Outcome(exit_code=code, starts=1, started_utc=NOW))

    store(0, 0)
    store(1, 3)
    store(2, None)
    (slurm / "queue").write_text("10_2 RUNNING\n11 PENDING\n12 PENDING\n13 PENDING\n")
    busy = launch("status", "l", "--json")
    states = [json.loads(line)["state"] for line in busy.stdout.splitlines()]
    assert states == ["complete", "failed", "running", "waiting", "waiting", "waiting"]
    assert busy.exit_code == 3
    assert launch("again", "l").exit_code == 2, "tasks are still running"
    (slurm / "queue").write_text("")
    states = [json.loads(line)["state"] for line in launch("status", "l", "--json").stdout.splitlines()]
    assert states == ["complete", "failed", "lost", "lost", "lost", "lost"]
    assert launch("again", "l").exit_code == 0
    stored = read_launch(folder)
    assert stored.jobs == ("10_0", "14_0", "14_1", "14_2")
    assert stored.closing_jobs == ("15", "16")
    assert read_outcome(locate_outcome(folder, 0)) is not None
    assert read_outcome(locate_outcome(folder, 1)) is None
    for number in range(6):
        store(number, 0)
    done = launch("status", "l")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "are complete" in launch("again", "l").stderr


def test_a_job_notes_how_its_command_ended(tmp_path: Path) -> None:
    file = tmp_path / "outcome.json"
    with pytest.raises(SystemExit) as raised:
        Job(("list", "nothing"), str(tmp_path), file)()
    assert raised.value.code == 2
    Job(("list", "suites"), str(tmp_path), file)()
    outcome = read_outcome(file)
    assert outcome is not None
    assert (outcome.exit_code, outcome.starts) == (0, 2)
