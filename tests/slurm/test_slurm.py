"""`fssbench launch` on a real Slurm of one node: arrays, dependencies, a killed task, a requeued task, a failed one.

pytest -m slurm tests/slurm
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import slurm_cluster
from slurm_cluster import ask, wait_until

from fssbench.runs.store import find_run_folders, read_run

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(600)]
PLUGIN = Path(__file__).parents[1] / "support" / "null_plugin.py"
SLOW = "--set=sleep=0.5"
RUN = (
    "run",
    "--plugin",
    PLUGIN,
    "-m",
    "null",
    "-b",
    "nulldata",
    "-k",
    "1",
    "--device",
    "cpu",
    "--panels",
    "0",
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory):
    reason = slurm_cluster.explain_absence()
    if reason is not None:
        pytest.skip(reason)
    pytest.importorskip("submitit")
    folder = tmp_path_factory.mktemp("slurm")
    with slurm_cluster.started_cluster(folder) as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def work(cluster, tmp_path: Path) -> Path:
    (tmp_path / "data" / "nulldata").mkdir(parents=True)
    return tmp_path


def fssbench(work: Path, *words: object, code: int = 0) -> str:
    command = [sys.executable, "-m", "fssbench", *map(str, words)]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


def launch(work: Path, *words: object, options: tuple[object, ...] = ()) -> list[str]:
    """Submit; return the job numbers, those of the merge and the report last."""
    base = ("launch", "--slurm", "--folder", "launched", "--no-check", "--json", *options)
    printed = fssbench(work, *base, *RUN, "--data", "data", *words)
    return [json.loads(line)["job"] for line in printed.splitlines()]


def list_states(work: Path, code: int = 0) -> list[dict]:
    printed = fssbench(work, "launch", "status", "launched", "--json", code=code)
    return [json.loads(line) for line in printed.splitlines()]


def wait_for_end() -> None:
    wait_until(lambda: not ask("squeue", "-h").strip(), 240, "jobs are still in the queue")


def wait_for_episodes(folder: Path, count: int) -> None:
    def has_them() -> bool:
        logs = list(folder.glob("*/episodes.jsonl"))
        return bool(logs) and len(logs[0].read_bytes().splitlines()) >= count

    wait_until(has_them, 120, f"no run in {folder} has {count} episodes")


def start_at_once(job: str) -> None:
    """Start a job that was queued again, which Slurm holds back for two minutes.

    Earlier than a few seconds after its end the node refuses it, and Slurm takes that for the end of the job.
    """
    time.sleep(5)
    ask("scontrol", "update", f"JobId={job}", "StartTime=now")


def find_command(words: str) -> psutil.Process:
    """Find the process of a task: the command itself, not the job that has started it."""
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if "-m fssbench run" in line and words in line:
            return process
    raise AssertionError(f"no process computes {words}")


def assert_equal_to_a_run_here(work: Path, *words: object) -> None:
    """The runs of the cluster have the bytes of a run that no cluster has seen."""
    fssbench(work, *RUN, "--data", "data", "--out", "here", *words)
    here = {path.name: (path / "episodes.jsonl").read_bytes() for path in find_run_folders(work / "here")}
    runs = {path.name: (path / "episodes.jsonl").read_bytes() for path in find_run_folders(work / "runs")}
    assert here
    assert runs == here


def test_shards_of_two_seeds_are_merged_and_reported(work: Path) -> None:
    words = ("--episodes", "9", "--seed", "0", "--seed", "3")
    jobs = launch(
        work, *words, options=("--shards", "2", "--array", "2", "--time", "10", "--sbatch", "comment=x")
    )
    assert [job.partition("_")[2] for job in jobs] == ["0", "1", "", ""]
    wait_for_end()
    assert {row["state"] for row in list_states(work)} == {"complete"}
    assert (work / "launched" / "report" / "report.html").is_file()
    assert_equal_to_a_run_here(work, *words)


def test_a_job_that_is_requeued_goes_on(work: Path) -> None:
    """`scontrol requeue` is what Slurm does after a preemption and for a node that died."""
    words = ("--episodes", "24", SLOW)
    (job, _) = launch(work, *words)
    wait_for_episodes(work / "runs", 3)
    ask("scontrol", "requeue", job)
    (path,) = find_run_folders(work / "runs")
    wait_until(
        lambda: job not in ask("squeue", "-h", "-t", "RUNNING", "-o", "%i").split(), 60, "still running"
    )
    stored = (path / "episodes.jsonl").read_bytes().splitlines()
    assert 3 <= len(stored) < 24
    start_at_once(job)
    wait_for_end()
    (task, _) = list_states(work)
    assert (task["state"], task["starts"]) == ("complete", 2)
    assert_equal_to_a_run_here(work, *words)


def test_a_job_that_runs_out_of_time_queues_itself_again(work: Path) -> None:
    """Slurm announces the end of the time with SIGUSR2, 90 s before; here the test does."""
    words = ("--episodes", "24", SLOW)
    (job, _) = launch(work, *words)
    wait_for_episodes(work / "runs", 3)
    ask("scancel", "--signal=USR2", job)
    (path,) = find_run_folders(work / "runs")
    wait_until(lambda: "PENDING" in ask("squeue", "-h", "-j", job, "-o", "%T"), 60, "not queued again")
    first = sum(session.episodes for session in read_run(path).sessions())
    assert first == read_run(path).done >= 3, "the command ended between two episodes and noted its session"
    start_at_once(job)
    wait_for_end()
    (task, _) = list_states(work)
    assert (task["state"], task["starts"]) == ("complete", 2)
    assert sum(session.episodes for session in read_run(path).sessions()) == 24, (
        "no episode was computed twice"
    )
    assert_equal_to_a_run_here(work, *words)


def test_a_killed_shard_costs_only_itself_and_is_launched_again(work: Path) -> None:
    words = ("--episodes", "24", SLOW)
    launch(work, *words, options=("--shards", "2"))
    wait_for_episodes(work / "runs" / "shards", 2)
    find_command("--shard 2/2").send_signal(signal.SIGKILL)
    wait_for_end()
    one, two, merge, report = list_states(work, code=3)
    assert (one["state"], two["state"], two["detail"]) == ("complete", "failed", "exit code 137")
    assert (merge["state"], merge["detail"]) == ("failed", "exit code 3")
    assert report["state"] == "failed"
    assert "lacks" in Path(work / merge["log"]).read_text()
    assert "2of2" in Path(work / merge["log"]).read_text()
    fssbench(work, "launch", "again", "launched")
    wait_for_end()
    assert {row["state"] for row in list_states(work)} == {"complete"}
    assert_equal_to_a_run_here(work, *words)


def test_a_cancelled_job_is_lost_and_named(work: Path) -> None:
    (job, *_) = launch(work, "--episodes", "24", SLOW)
    wait_for_episodes(work / "runs", 2)
    ask("scancel", "--signal=KILL", "--full", job)
    ask("scancel", job)
    wait_for_end()
    task, _ = list_states(work, code=3)
    assert task["state"] in {"lost", "failed"}


def test_tasks_of_srun_take_their_shards_from_slurm(work: Path) -> None:
    command = [sys.executable, "-m", "fssbench", *map(str, RUN), "--data", "data", "--episodes", "7"]
    subprocess.run(
        [
            "srun",
            "-n",
            str(min(2, os.cpu_count() or 1)),
            "--overcommit",
            *command,
            "--shard",
            "auto",
            "--out",
            "parts",
        ],
        cwd=work,
        check=True,
        capture_output=True,
    )
    fssbench(work, "merge", "parts", "--out", "runs")
    assert_equal_to_a_run_here(work, "--episodes", "7")
