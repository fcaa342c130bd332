"""Shows the progress of long work: a bar with rate and time left at a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from fssbench.cli.output import escape_text

EVERY = 10.0
"""Seconds between two plain lines."""


class Progress:
    """Prints messages to standard error and results to standard output.

    Args:
        quiet: whether to print results only.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._total = 0
        self._done_by_part: dict[str, int] = {}
        self._stored = 0
        self._started = time.monotonic()
        self._last_line = self._started

    def say(self, text: str) -> None:
        """Print a message line."""
        if not self.quiet:
            self._line(text, err=True)

    def result(self, text: str) -> None:
        """Print a line of results."""
        self._line(text, err=False)

    def _line(self, text: str, *, err: bool) -> None:
        if self._bar is not None and (err or sys.stdout.isatty()):
            self._bar.console.print(escape_text(text), markup=False, highlight=False)
        else:
            click.echo(escape_text(text), err=err)

    @contextmanager
    def over(self, total: int) -> Iterator[None]:
        """Show progress over `total` episodes or checks."""
        self._total = total
        self._started = self._last_line = time.monotonic()
        if self.quiet or not sys.stderr.isatty():
            yield
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress as Bar,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.fields[what]}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=Console(stderr=True), transient=True) as self._bar:
            self._task = self._bar.add_task("", total=total, what="starting", rate="")
            try:
                yield
            finally:
                self._bar = None

    def watch(self, task: Any) -> Callable[[str, int, int], None]:
        """Make the callback for the runs of one task."""
        place = f"{task.plan.benchmark} f{task.plan.fold} {task.plan.shot}-shot"

        def step(label: str, done: int, planned: int) -> None:
            key = f"{place} {label} s{task.plan.seed}"
            if key not in self._done_by_part:
                self._stored += done - 1  # stored before this process started
            self.advance(key, done, f"{place} {label} {done}/{planned}")

        return step

    def advance(self, part: str, done: int, what: str) -> None:
        """Show how many episodes or checks of a part are done, and the current one."""
        self._done_by_part[part] = done
        self._show(what)

    def skip(self, part: str, done: int) -> None:
        """Count episodes of a part that were stored before this process started."""
        self._done_by_part[part] = done
        self._stored += done
        if self._bar is not None:
            self._bar.update(self._task, completed=sum(self._done_by_part.values()), what="already stored")

    def _show(self, what: str) -> None:
        now, done = time.monotonic(), sum(self._done_by_part.values())
        rate = (done - self._stored) / max(now - self._started, 1e-9)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, what=what, rate=f"{rate:.1f}/s")
        elif not self.quiet and now - self._last_line >= EVERY:
            self._last_line = now
            seconds_left = (self._total - done) / rate if rate else 0
            click.echo(
                escape_text(f"{done}/{self._total} {rate:.1f}/s, {seconds_left:.0f} s left: {what}"), err=True
            )
