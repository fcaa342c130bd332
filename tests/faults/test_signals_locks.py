"""Real processes of the command, interrupted; several processes on one run folder."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from places import NULL_PLUGIN
from processes import Started

import fssbench
from fssbench.api import Method
from fssbench.errors import DataError, LockedError
from fssbench.evaluation.repeated import LEAST
from fssbench.runs.store import read_records, read_run


def hear_sigint() -> None:
    """Undo what a shell does to a background job: a child that inherits an ignored SIGINT never hears one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(null, *, whole: bool, sleep: float = 0.05) -> subprocess.Popen[str] | Started:
    """Start the command as a user does, or as a fork, which need not import torch.

    Args:
        sleep: seconds that an episode takes longer.
    """
    words = ["run", "-m", "null", "-b", "nulldata", "-k", "1", "--episodes", "40", "--panels", "1"]
    words += ["--out", null.folder / "out", "--device", "cpu", "--plugin", NULL_PLUGIN]
    environment = null.make_environment({"NULL_SLEEP": str(sleep)})
    if not whole:
        return Started(words, null.folder, environment)
    return subprocess.Popen(
        null.compose_command(*words),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_sigint,
    )


def finish(null) -> int | None:
    """Exit status of the command when nothing interrupts it."""
    child = start(null, whole=False, sleep=0)
    child.communicate()
    return child.returncode


def interrupted(null, number: int, times: int, expected: set[int], whole: int = 1) -> None:
    """Interrupt the command again and again; the first `whole` times it is a process as a user starts it."""
    rng = random.Random(number)
    stored = 0
    for time_number in range(times):
        known = null.count_calls()
        child = start(null, whole=time_number < whole)
        until = time.monotonic() + 60
        while null.count_calls() < known + 2 and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.2))
        started = time.monotonic()
        child.send_signal(number)
        _, said = child.communicate()
        assert time.monotonic() - started < 5
        assert child.returncode in expected, said
        assert "Traceback" not in said
        path = null.find_run("out")
        records, length = read_records(path / "episodes.jsonl")
        assert length == (path / "episodes.jsonl").stat().st_size
        # all that was computed is there: at most the episode in work is lost
        assert len(records) >= stored + null.count_calls() - known - 1 > stored
        stored = len(records)
        assert "interrupted" in said or "SIGTERM" in said
        summary = json.loads((path / "summary.json").read_text())
        assert summary["episodes"] == {"counted": stored, "planned": 40}
    assert finish(null) == 0
    assert null.count_calls() <= 40 + times + LEAST
    plan = fssbench.plan("nulldata", shot=1, data=null.data, episodes=40)
    (whole,) = null.run("whole", plan)
    assert null.read_results(null.find_run("out")) == null.read_results(whole.path)


def make_waiting(null, gate: Path, calls: int) -> Method:
    """Make a null method that waits for a file after some calls."""

    def logits(self, query, support, support_mask):
        until = time.monotonic() + 30
        while null.count_calls() >= calls and not gate.exists() and time.monotonic() < until:
            time.sleep(0.005)
        return null.base.logits(self, query, support, support_mask)

    return null.make_broken("null", logits=logits)


def test_sigint_keeps_all_that_was_computed(null):
    interrupted(null, signal.SIGINT, 2, {130})


def test_sigterm_keeps_all_that_was_computed(null):
    interrupted(null, signal.SIGTERM, 2, {143}, whole=0)


def list_children(pid: int) -> set[int]:
    """List the processes that the threads of a process have started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="lists processes by /proc")
def test_sigterm_to_every_process_of_a_job_keeps_what_was_computed(null):
    """As Slurm and systemd send it: the process of a method of others gets it too, and first."""
    child = start(null, whole=False, sleep=0.3)
    until = time.monotonic() + 60
    while null.count_calls() < 3 and time.monotonic() < until:
        time.sleep(0.02)
    children = list_children(child.pid)
    assert children, "the method has a process of its own"
    known = null.count_calls()
    for pid in (*children, child.pid):
        os.kill(pid, signal.SIGTERM)
    _, said = child.communicate()
    assert (child.returncode, "Traceback" in said) == (143, False), said
    records, _ = read_records(null.find_run("out") / "episodes.jsonl")
    assert len(records) >= known - 1, "at most the episode in work is lost"


@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_many_signals(null, number):
    interrupted(null, number, 10, {130, 143}, whole=10)


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_second_sigint_ends_at_once_and_stays_resumable(null, whole):
    child = start(null, whole=whole)
    while null.count_calls() < 3:
        time.sleep(0.02)
    for _ in range(3):
        child.send_signal(signal.SIGINT)
        time.sleep(0.01)
    started = time.monotonic()
    child.communicate()
    assert time.monotonic() - started < 5
    assert child.returncode != 0
    assert finish(null) == 0
    assert len(read_records(null.find_run("out") / "episodes.jsonl")[0]) == 40


@pytest.mark.parametrize(
    ("processes", "races"),
    [(4, 2), *(pytest.param(n, 5, marks=pytest.mark.nightly) for n in (2, 4))],
)
def test_one_owner_and_the_others_are_told_who(null, processes, races):
    for race in range(races):
        out, plan = null.folder / f"race{race}", null.plan(4)
        go, told = null.folder / f"go{race}", null.folder / f"told{race}"
        method = make_waiting(null, told, 0)

        def work(out=out, plan=plan, go=go, method=method) -> None:
            while not go.exists():
                time.sleep(0.001)
            null.run(out, plan, method, panels=0)

        children = [null.fork(work) for _ in range(processes)]
        go.touch()
        started = time.monotonic()
        ends = {}
        for number in range(processes):
            if number == processes - 1:
                told.touch()  # all but one have ended, so the owner may go on
            pid, status = os.wait()
            ends[pid] = (os.waitstatus_to_exitcode(status), time.monotonic() - started)
        winners = [c for c in children if ends[c.pid][0] == 0]
        assert len(winners) == 1, [(c.message, ends[c.pid]) for c in children]
        for child in children:
            code, seconds = ends[child.pid]
            if child is not winners[0]:
                assert code == LockedError.exit_code
                assert seconds < 2
                assert f"in use by process {winners[0].pid} on host {socket.gethostname()}" in child.message
        (path,) = (p for p in out.iterdir() if p.is_dir())
        assert (path / "episodes.jsonl").read_bytes().count(b"\n") == 4
        assert not (path / ".owner.json").exists()


def test_owner_that_died_is_followed(null):
    plan = null.plan(6)
    method = make_waiting(null, null.folder / "gate", 2)
    child = null.fork(lambda: null.run("runs", plan, method))
    while null.count_calls() < 2:
        time.sleep(0.01)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    (path,) = (p for p in (null.folder / "runs").iterdir() if p.is_dir())
    owner = json.loads((path / ".owner.json").read_text())
    assert owner["pid"] == child.pid
    (null.folder / "gate").touch()
    (done,) = null.run("runs", plan, method)
    assert done.score.episodes == 6
    assert not (path / ".owner.json").exists()


def test_owner_on_another_host_is_respected(null):
    plan = null.plan(3)
    (done,) = null.run("runs", plan)
    owner = done.path / ".owner.json"
    owner.write_text(json.dumps({"pid": 77, "host": "elsewhere", "since": 0}))
    with pytest.raises(LockedError) as error:
        null.run("runs", plan)
    assert "process 77 on host elsewhere" in str(error.value)
    assert f"delete {owner}" in str(error.value)
    assert owner.is_file()
    owner.unlink()
    null.run("runs", plan)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"pid": 1}', "\x00"])
def test_damaged_owner_file_is_followed(null, text):
    plan = null.plan(2)
    (done,) = null.run("runs", plan)
    (done.path / ".owner.json").write_text(text)
    null.run("runs", plan)


def test_reading_needs_no_lock(null):
    """`score` and `report` read a run that is being written."""
    plan = null.plan(8)
    gate = null.folder / "gate"
    child = null.fork(lambda: null.run("runs", plan, make_waiting(null, gate, 4)))
    while null.count_calls() < 4:
        time.sleep(0.01)
    run = read_run(null.find_run("runs"))
    assert 0 < run.done < 8
    assert run.status == "incomplete"
    gate.touch()
    assert child.wait() == 0


def test_folder_without_permission(null):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    out = null.folder / "closed"
    out.mkdir(mode=0o555)
    with pytest.raises(DataError, match="cannot be made"):
        null.run(out, null.plan(2))


def test_file_where_a_folder_should_be(null):
    (null.folder / "file").write_text("x")
    with pytest.raises(DataError, match=r"file.* cannot be made"):
        null.run("file", null.plan(2))
