"""Slurm: jobs are submitted through submitit, and their states are asked of `squeue`.

submitit writes the scripts, the job arrays and the dependencies, and queues a job again that runs out of time.  States
do not come from it: it asks `sacct`, which needs an accounting database that many clusters lack.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fssbench.errors import DataError, UsageError
from fssbench.launching.job import Job
from fssbench.launching.record import LOGS, Launch, Resources, locate_outcome

QUEUED_AGAIN = 10_000
"""How often a task may run out of time; each time it has got further."""
_DEFAULT_ARRAY = 1001
"""Slurm's own default of MaxArraySize."""


def require_slurm() -> None:
    """Refuse a machine from which nothing can be submitted.

    Raises:
        UsageError: if submitit or the commands of Slurm are missing.
    """
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise UsageError(
            "launch --slurm needs submitit, which is not installed. Next: `pip install 'fssbench[slurm]'`"
        ) from None
    missing = [name for name in ("sbatch", "squeue", "scontrol") if shutil.which(name) is None]
    if missing:
        raise UsageError(
            f"launch --slurm: {', '.join(missing)} is not on this machine, so it submits to no Slurm cluster. "
            "Next: call it on a login node, or add --dry-run"
        )


def submit(launch: Launch, folder: Path, again: Sequence[int] | None = None) -> Launch:
    """Submit tasks as job arrays, and the merge and the report after them.

    Args:
        launch: what to submit.
        folder: folder of the launch.
        again: places of the tasks to submit; None for all.

    Returns:
        The launch with its job numbers.

    Raises:
        DataError: if Slurm refuses a job; those before it are cancelled.
    """
    numbers = range(len(launch.tasks)) if again is None else again
    resources = launch.resources
    jobs: list[str | None] = [None] * len(launch.tasks)
    closing: list[str] = []
    largest = _read_largest_array()
    after: list[str] = []
    try:
        for first in range(0, len(numbers), largest):
            part = numbers[first : first + largest]
            # an array waits for the one before it, so that no more tasks run at once than were asked for
            executor = _make_executor(folder, resources, "fssbench", after[-1:], is_array=True)
            with executor.batch():
                submitted = [
                    executor.submit(_make_job(launch, folder, launch.tasks[n].words, n)) for n in part
                ]
            for number, job in zip(part, submitted, strict=True):
                jobs[number] = str(job.job_id)
            after.append(str(submitted[0].job_id).partition("_")[0])
        waits = after
        for place, task in enumerate(launch.closing, start=len(launch.tasks)):
            executor = _make_executor(folder, resources, f"fssbench-{task.name}", waits, is_array=False)
            waits = [str(executor.submit(_make_job(launch, folder, task.words, place)).job_id)]
            closing += waits
    except Exception as error:
        submitted_jobs = [*after, *closing]
        if submitted_jobs:
            subprocess.run(["scancel", *submitted_jobs], capture_output=True, check=False)
        reason = str(getattr(error, "stderr", "") or error).strip()
        raise DataError(
            f"Slurm refused the jobs: {reason}. Next: `sinfo`, then other options of launch"
        ) from None
    return launch.changed(jobs=tuple(jobs), closing_jobs=tuple(closing))


def read_states(launch: Launch) -> dict[str, str]:
    """Ask Slurm for the jobs of a launch that are waiting or running.

    Returns:
        States such as `PENDING` by job number; a job that has ended is absent.

    Raises:
        UsageError: if `squeue` is missing or does not answer.
    """
    ids = sorted({job.partition("_")[0] for job in (*launch.jobs, *launch.closing_jobs) if job is not None})
    if not ids:
        return {}
    command = ["squeue", "--noheader", "--array", "--format=%i %T", f"--jobs={','.join(ids)}"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(
            f"squeue does not answer ({error}). Next: ask on a login node of the cluster"
        ) from None
    if asked.returncode and "Invalid job id" not in asked.stderr:  # which it says when all have ended
        raise UsageError(f"squeue does not answer ({asked.stderr.strip()}). Next: `sinfo`")
    rows = (line.split() for line in asked.stdout.splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 2}


def parse_minutes(text: str) -> int:
    """Read a time limit as Slurm writes it: minutes, M:S, H:M:S, D-H, D-H:M or D-H:M:S; seconds are rounded up.

    Raises:
        ValueError: for another text, and for no time at all.
    """
    pattern = r"(?:(\d+)-(\d+)(?::(\d+))?(?::(\d+))?|(?:(\d+):)?(\d+):(\d+)|(\d+))"
    match = re.fullmatch(pattern, text, re.ASCII)
    if match is None:
        raise ValueError(f"{text!r} is no time of Slurm, such as 90 (minutes), 12:00:00 or 2-00:00:00")
    days, d_hours, d_minutes, d_seconds, hours, minutes, seconds, alone = (
        int(n or 0) for n in match.groups()
    )
    total = (days * 24 + d_hours + hours) * 3600 + (d_minutes + minutes + alone) * 60 + d_seconds + seconds
    if total == 0:
        raise ValueError(f"{text!r} is no time at all")
    return -(-total // 60)


def _make_job(launch: Launch, folder: Path, words: Sequence[str], number: int) -> Job:
    return Job(tuple(words), launch.directory, locate_outcome(folder.resolve(), number))


def _make_executor(
    folder: Path, resources: Resources, name: str, after: Sequence[str], *, is_array: bool
) -> Any:
    import submitit

    options: dict[str, Any] = dict(option.partition("=")[::2] for option in resources.other)
    options["requeue"] = True
    if after:
        options["dependency"] = "afterany:" + ":".join(after)
    executor = submitit.SlurmExecutor(folder.resolve() / LOGS / "%j", max_num_timeout=QUEUED_AGAIN)
    wanted = {
        "job_name": name,
        "partition": resources.partition,
        "time": resources.minutes,
        "cpus_per_task": resources.cpus,
        "gres": resources.gres if is_array else None,
        "mem": None,
        "array_parallelism": resources.at_once,
        "additional_parameters": options
        if resources.memory is None
        else {**options, "mem": resources.memory},
    }
    executor.update_parameters(
        **{key: value for key, value in wanted.items() if value is not None}, wckey=None
    )
    return executor


def _read_largest_array() -> int:
    """Ask Slurm for the largest number of tasks in one array."""
    asked = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=False)
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", asked.stdout, re.MULTILINE)
    return max(2, int(match[1]) if match else _DEFAULT_ARRAY) - 1
