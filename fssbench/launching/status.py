"""State of the tasks of a launch, from the files that they stored and from the queue of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fssbench.launching.record import LOGS, Launch, Task, locate_outcome, read_outcome


class State(StrEnum):
    """State of a task of a launch."""

    COMPLETE = "complete"
    RUNNING = "running"
    WAITING = "waiting"
    FAILED = "failed"
    """Its command ended with an error."""
    LOST = "lost"
    """It is not in the queue, and its command has not said how it ended: it was killed, or cancelled."""


@dataclass(frozen=True)
class TaskStatus:
    """A task and what has become of it."""

    number: int
    task: Task
    job: str | None
    state: State
    detail: str
    """Exit code of a failed task, or the state of a job as the engine calls it."""
    starts: int
    log: Path | None
    """File with the standard error of the job."""

    @property
    def is_over(self) -> bool:
        """Whether the task ended without being complete."""
        return self.state in {State.FAILED, State.LOST}


def list_statuses(launch: Launch, folder: Path, queue: Mapping[str, str]) -> list[TaskStatus]:
    """List the state of each task, with the merge and the report at the end.

    Args:
        launch: the launch as it was submitted.
        folder: folder of the launch.
        queue: states of the jobs that are waiting or running, by job number.
    """
    jobs = [*launch.jobs, *launch.closing_jobs]
    tasks = [*launch.tasks, *launch.closing]
    jobs += [None] * (len(tasks) - len(jobs))
    return [
        _judge(number, task, job, folder, queue)
        for number, (task, job) in enumerate(zip(tasks, jobs, strict=True))
    ]


def _judge(number: int, task: Task, job: str | None, folder: Path, queue: Mapping[str, str]) -> TaskStatus:
    outcome = read_outcome(locate_outcome(folder, number))
    queued = queue.get(job) if job is not None else None
    code = outcome.exit_code if outcome is not None else None
    if code == 0:
        state, detail = State.COMPLETE, ""
    elif queued is not None:
        state, detail = (State.WAITING if queued == "PENDING" else State.RUNNING), queued
    elif code is not None:
        state, detail = State.FAILED, f"exit code {code}"
    else:
        state = State.LOST
        detail = "never started" if outcome is None else "killed"
    log = folder / LOGS / job / f"{job}_0_log.err" if job is not None else None
    starts = outcome.starts if outcome is not None else 0
    return TaskStatus(number, task, job, state, detail, starts, log)
