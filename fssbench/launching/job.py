"""What a job does on its node: start one command, note how it ended, and stop it in time to be queued again.

submitit calls a `Job` there and installs its own handler of the signal with which Slurm announces the end of the time
limit or a preemption; the handler calls `Job.checkpoint` and queues the job again.  The command is a process of its
own, so it ends between two episodes as after Ctrl-C, and what it has counted is stored.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fssbench.launching.record import Outcome, format_now, read_outcome, write_outcome

PATIENCE = 45.0
"""Seconds in which a command may finish its episode after it was asked to stop; Slurm gives 90."""
WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)
"""Signals by which Slurm announces an end.  It sends them to all processes of a job, and the command must not die."""


@dataclass
class Job:
    """One command of a launch, as submitit stores it and calls it on a node."""

    words: tuple[str, ...]
    """The command after `fssbench`."""
    directory: str
    outcome: Path
    """File that says what became of the task."""
    _command: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    def __call__(self) -> None:
        """Run the command.

        Raises:
            SystemExit: with the exit code of a command that failed, so that Slurm shows it too.
        """
        before = read_outcome(self.outcome)
        begun = Outcome(exit_code=None, starts=(before.starts if before else 0) + 1, started_utc=format_now())
        write_outcome(self.outcome, begun)
        words: Sequence[str] = [sys.executable, "-m", "fssbench", *self.words]
        self._command = subprocess.Popen(words, cwd=self.directory, preexec_fn=_ignore_warnings)
        code = self._command.wait()
        code = 128 - code if code < 0 else code
        write_outcome(self.outcome, begun.changed(exit_code=code, ended_utc=format_now()))
        if code:
            raise SystemExit(code)

    def checkpoint(self) -> Any:
        """Stop the command, and return what is to be called when the job runs again."""
        from submitit.helpers import DelayedSubmission

        if self._command is not None:
            _stop(self._command.pid)
        return DelayedSubmission(Job(self.words, self.directory, self.outcome))


def _stop(process: int) -> None:
    """Ask a command to stop, wait until it has, and kill it if it does not: its episode is lost, and no other.

    `Popen.wait` cannot be used: the handler of the signal interrupts the call of it that waits for the command.
    """
    with contextlib.suppress(ProcessLookupError, ChildProcessError):  # it has ended meanwhile
        os.kill(process, signal.SIGINT)
        end = time.monotonic() + PATIENCE
        while os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > end:
                os.kill(process, signal.SIGKILL)
                return
            time.sleep(0.1)


def _ignore_warnings() -> None:
    for number in WARNINGS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
