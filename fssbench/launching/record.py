"""The folder of a launch: what was submitted, and how each task ended.

    launches/<name>/
        launch.json      the tasks with their commands and job numbers, replaced as a whole
        tasks/00007.json what became of task 7; the task writes it when it starts and when it ends
        logs/            output of the jobs, and what submitit keeps
        report/          the report over all runs

A task is complete if its command said so.  Whether one is waiting or running is asked of the engine, because a task
that dies cannot say it.  The folder is readable by its owner alone: a command may contain secrets.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ConfigDict, ValidationError

from fssbench.contracts.records import Items, Record, first_problem
from fssbench.errors import DataError
from fssbench.files.atomic import replace_file

FILE = "launch.json"
LOGS = "logs"
TASKS = "tasks"
REPORT = "report"


class _Kept(Record):
    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)


class Task(_Kept):
    """One job of a launch: one method on one benchmark, fold and shot, or one shard of that."""

    name: str
    words: Items[str]
    """The command after `fssbench`."""
    method: str
    shot: int
    size: int
    """Side of the network input in pixels."""
    episodes: int
    """Episodes of this task, over all its seeds."""
    backbone: str | None = None
    """The backbone that was asked for; None for the method's own."""


class Resources(_Kept):
    """Resources that each job requests from Slurm."""

    at_once: int | None = None
    """Largest number of tasks that run at the same time."""
    partition: str | None = None
    minutes: int = 60
    """Time limit of one job.  A task that needs longer is queued again before the limit, and goes on."""
    gres: str | None = None
    cpus: int | None = None
    memory: str | None = None
    other: Items[str] = ()
    """More options of `sbatch`, each `NAME=VALUE`."""


class Launch(_Kept):
    """A launch as it was submitted: its tasks, its jobs and their resources."""

    format: str = "fssbench-launch/1"
    created_utc: str
    directory: str
    """Working folder of the commands."""
    resources: Resources
    tasks: Items[Task]
    jobs: Items[str | None] = ()
    """Job number of each task, in the order of `tasks`; None for one that was not submitted again."""
    closing: Items[Task] = ()
    """The merge and the report, which wait for all tasks."""
    closing_jobs: Items[str] = ()


class Outcome(_Kept):
    """Exit code, number of starts and times of a task."""

    exit_code: int | None
    """None while the task runs, or if it was killed."""
    starts: int
    """How often the task was started: more than once if it was queued again."""
    started_utc: str
    ended_utc: str | None = None


def format_now() -> str:
    """Return the time as text, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_launch(launch: Launch, folder: Path) -> None:
    """Store a launch.

    Raises:
        DataError: if the folder cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (LOGS, TASKS):
            (folder / name).mkdir(exist_ok=True)
        replace_file(folder / FILE, (launch.model_dump_json(indent=1) + "\n").encode())
    except OSError as error:
        raise DataError(f"launch folder {folder} cannot be written ({error}). Next: choose another") from None


def read_launch(folder: Path) -> Launch:
    """Read what was submitted.

    Raises:
        DataError: if the folder holds no launch, or a damaged one.
    """
    try:
        return Launch.model_validate_json((folder / FILE).read_bytes())
    except OSError as error:
        raise DataError(
            f"{folder} is not the folder of a launch: {FILE} cannot be read ({error.strerror}). "
            "Next: `fssbench launch --slurm run ...` names its folder"
        ) from None
    except ValidationError as error:
        raise DataError(f"{folder / FILE} is damaged: {first_problem(error)}") from None


def locate_outcome(folder: Path, number: int) -> Path:
    """Return the file that says what became of a task; the merge and the report follow the tasks."""
    return folder / TASKS / f"{number:05}.json"


def read_outcome(path: Path) -> Outcome | None:
    """Read what became of a task; None if it never started, or if the file is damaged."""
    try:
        return Outcome.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def write_outcome(path: Path, outcome: Outcome) -> None:
    """Store what became of a task.

    Raises:
        OSError: if the file cannot be written.
    """
    replace_file(path, json.dumps(outcome.model_dump()).encode())
