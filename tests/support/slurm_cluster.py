"""A Slurm cluster of one node on this machine, from Debian's `slurm-wlm` and `munge`, for the tests in tests/slurm."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
_SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
_CONFIGURATION = """\
ClusterName=fssbench
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_min_interval=1
KillWait=5
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={processors} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def explain_absence() -> str | None:
    """Say why no cluster can be started here; None if one can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_SEARCHED) is None]
    if missing:
        return f"{', '.join(missing)} not installed; `apt-get install slurm-wlm munge` installs them"
    return None


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for a condition, and fail with its name."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"after {seconds} s: {what}"
        time.sleep(0.2)


def ask(*words: str) -> str:
    """Run a command of Slurm and return what it prints."""
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@contextmanager
def started_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start a cluster, and stop it with its jobs at the end.

    Yields:
        The environment variables with which its commands are called.
    """
    host = socket.gethostname().partition(".")[0]
    ports = [_find_free_port() for _ in range(2)]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    configuration = folder / "slurm.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            folder=folder,
            host=host,
            user=pwd.getpwuid(os.geteuid()).pw_name,
            port=ports[0],
            node_port=ports[1],
            processors=os.cpu_count(),
        )
    )
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    variables = {"SLURM_CONF": str(configuration), "PATH": _SEARCHED}
    environment = {**os.environ, **variables}
    files = {"key": "key", "socket": "socket", "pid": "pid", "log": "log", "seed": "seed"}
    munge = ["munged", "--foreground", "--force"]
    munge += [
        f"--{option}-file={folder}/munge.{name}" for option, name in files.items() if option != "socket"
    ]
    munge += [f"--socket={folder}/munge.socket"]
    with ExitStack() as stack:
        for words in (munge, ["slurmctld", "-D"], ["slurmd", "-D"]):
            stack.enter_context(_started(words, environment, folder / f"{words[0]}.out"))
            if words is munge:
                wait_until((folder / "munge.socket").exists, 20, "munged has made no socket")

        def is_idle() -> bool:
            asked = subprocess.run(
                ["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, env=environment, check=False
            )
            return asked.stdout.strip() == "idle"

        wait_until(is_idle, 60, (folder / "slurmctld.out").read_text()[-2000:])
        try:
            yield variables
        finally:
            for job in subprocess.run(
                ["squeue", "-h", "-o", "%A"], capture_output=True, text=True, env=environment, check=False
            ).stdout.split():
                subprocess.run(["scancel", "--signal=KILL", "--full", job], env=environment, check=False)
                subprocess.run(["scancel", job], env=environment, check=False)
            time.sleep(1)


@contextmanager
def _started(words: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    program = shutil.which(words[0], path=_SEARCHED)
    assert program is not None
    with log.open("w") as output:
        daemon = subprocess.Popen([program, *words[1:]], env=environment, stdout=output, stderr=output)
        try:
            yield
        finally:
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
