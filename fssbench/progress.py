"""Shows the progress of long work: a bar in a notebook and at a terminal, plain lines in a pipe.

The command line and Python show it by the same rule.  A notebook needs no ipywidgets: the bar is one output that is
replaced as the work goes on.
"""

from __future__ import annotations

import html
import importlib
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fssbench.files.clean_text import escape_text
from fssbench.plural import describe_count

EVERY = 10.0
"""Seconds between two plain lines."""
_RECENT = 30.0
"""Seconds whose rate is shown; the time left is what is left at this rate."""
_REDRAW = 0.2
"""Seconds between two states of the bar of a notebook."""


class Display:
    """Where progress is shown; this class shows none."""

    draws = False
    """Whether a bar is on the terminal now."""

    def start(self, total: int | None) -> None:
        """Begin to show work of `total` parts, or of a number that is not known yet."""

    def show(self, done: int, total: int, what: str, rate: float) -> None:
        """Show the state of the work.

        Args:
            done: parts that are done.
            total: parts of the whole work.
            what: the current part, in words.
            rate: parts per second.
        """

    def say(self, text: str) -> None:
        """Print a message."""

    def stop(self) -> None:
        """End the display."""


class PlainLines(Display):
    """Prints messages and a line every ten seconds to standard error."""

    def start(self, total: int | None) -> None:
        """Begin to measure the time between lines."""
        self._last_line = time.monotonic()

    def show(self, done: int, total: int, what: str, rate: float) -> None:
        """Print a line if the last one is old enough."""
        now = time.monotonic()
        if now - self._last_line < EVERY:
            return
        self._last_line = now
        seconds_left = (total - done) / rate if rate else 0.0
        self.say(f"{done}/{total} {rate:.1f}/s, {seconds_left:.0f} s left: {what}")

    def say(self, text: str) -> None:
        """Print a message to standard error."""
        print(escape_text(text), file=sys.stderr, flush=True)  # noqa: T201


class TerminalBar(PlainLines):
    """Draws a bar on standard error, which vanishes when the work has ended."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def start(self, total: int | None) -> None:
        """Draw the empty bar."""
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
        self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=total, what="starting", rate="")
        self._bar.start()
        self.draws = True

    def show(self, done: int, total: int, what: str, rate: float) -> None:
        """Redraw the bar."""
        if self._bar is not None:
            text = escape_text(what)
            self._bar.update(self._task, completed=done, total=total, what=text, rate=f"{rate:.1f}/s")

    def say(self, text: str) -> None:
        """Print a message above the bar."""
        if self._bar is None:
            super().say(text)
        else:
            self._bar.console.print(escape_text(text), markup=False, highlight=False)

    def stop(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar, self.draws = None, False


class NotebookBar(Display):
    """Shows one output of a notebook cell that is replaced; its last state stays."""

    def __init__(self) -> None:
        self._output: Any = None
        self._drawn = 0.0
        self._state: tuple[int, int, str, float] | None = None

    def start(self, total: int | None) -> None:
        """Wait for the first part: work without parts shows nothing."""
        self._output, self._state, self._drawn = None, None, 0.0

    def show(self, done: int, total: int, what: str, rate: float) -> None:
        """Replace the output, at most five times per second."""
        self._state = done, total, what, rate
        if time.monotonic() - self._drawn >= _REDRAW:
            self._draw()

    def say(self, text: str) -> None:
        """Print a message below the cell; a notebook shows standard error as if it were an error."""
        print(escape_text(text), flush=True)  # noqa: T201

    def stop(self) -> None:
        """Draw the last state."""
        if self._state is not None:
            self._draw()

    def _draw(self) -> None:
        assert self._state is not None
        done, total, what, rate = self._state
        seconds_left = (total - done) / rate if rate else 0.0
        left = f", {seconds_left:.0f} s left" if rate and done < total else ""
        text = escape_text(f"{done} of {total}, {rate:.1f} per second{left}: {what}")
        bar = f'<progress value="{done}" max="{total}"></progress> {html.escape(text)}'
        bundle = {"text/plain": text, "text/html": bar}
        if self._output is None:
            # a notebook has it, fssbench needs it not
            display = importlib.import_module("IPython.display").display
            self._output = display(bundle, raw=True, display_id=True)
        else:
            self._output.update(bundle, raw=True)
        self._drawn = time.monotonic()


def is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def choose_display(*, quiet: bool = False) -> Display:
    """Choose how progress is shown here: in a notebook, at a terminal or in a pipe.

    Args:
        quiet: whether nothing is shown.
    """
    if quiet:
        return Display()
    if is_notebook():
        return NotebookBar()
    return TerminalBar() if sys.stderr.isatty() and not _only_lines else PlainLines()


_only_lines = False


@contextmanager
def only_lines() -> Iterator[None]:
    """Context in which progress at a terminal is shown in lines, because something else uses the terminal too."""
    global _only_lines
    _only_lines = True
    try:
        yield
    finally:
        _only_lines = False


class Progress:
    """The progress of work that consists of parts of several runs.

    Args:
        quiet: whether nothing is shown.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.display = choose_display(quiet=quiet)
        self._total = 0
        self._done_by_part: dict[str, int] = {}
        self._stored = 0
        self._moments: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        """Times in seconds, and what was done since the start until then, of the last `_RECENT` seconds."""

    def say(self, text: str) -> None:
        """Print a message."""
        self.display.say(text)

    @property
    def done(self) -> int:
        """Number of episodes, checks or images that are done, those included that were stored before."""
        return sum(self._done_by_part.values())

    @contextmanager
    def over(self, total: int) -> Iterator[None]:
        """Show progress over `total` episodes, checks or images."""
        self._total = total
        self._moments = deque([(time.monotonic(), 0)])
        self.display.start(total)
        try:
            yield
        finally:
            self.display.stop()

    def watch(self, task: Any) -> Callable[[str, int, int], None]:
        """Make the callback for the runs of one task, which has a `plan`."""
        return self.watch_plan(task.plan)

    def resume(self, task: Any) -> Callable[[str, int, int], None]:
        """Make the callback for what is stored of the runs of one task, which has a `plan`."""
        return self.resume_plan(task.plan)

    def resume_plan(self, plan: Any) -> Callable[[str, int, int], None]:
        """Make the callback for what is stored of the runs of one plan, which says it."""

        def note(label: str, stored: int, planned: int) -> None:
            part = _name_part(plan, label)
            if part not in self._done_by_part:  # otherwise this process stored it, before it put the run off
                self._done_by_part[part] = stored
                self._stored += stored
                self.say(
                    f"{part}: {stored:,} of {describe_count(planned, 'episode is', 'episodes are')} already stored"
                )

        return note

    def watch_plan(self, plan: Any) -> Callable[[str, int, int], None]:
        """Make the callback for the runs of one plan."""

        def step(label: str, done: int, planned: int) -> None:
            part = _name_part(plan, label)
            if part not in self._done_by_part:
                self._stored += done - 1  # stored before this process started
            self.advance(part, done, f"{part} {done}/{planned}")

        return step

    def advance(self, part: str, done: int, what: str) -> None:
        """Show how many episodes or checks of a part are done, and the current one."""
        self._done_by_part[part] = done
        self._show(what)

    def skip(self, part: str, done: int) -> None:
        """Count episodes of a part that were stored before this process started."""
        self._done_by_part[part] = done
        self._stored += done
        self._show("already stored")

    def _show(self, what: str) -> None:
        now, computed = time.monotonic(), self.done - self._stored
        # what comes may be slower than what was: a slow method goes on when the others have finished
        while len(self._moments) > 1 and self._moments[1][0] <= now - _RECENT:
            self._moments.popleft()
        began, before = self._moments[0]
        if now - self._moments[-1][0] >= _RECENT / 60:
            self._moments.append((now, computed))
        self.display.show(self.done, self._total, what, (computed - before) / max(now - began, 1e-9))


def _name_part(plan: Any, label: str) -> str:
    """Name the run of a method on a plan."""
    seed = f" seed {plan.seed}" if plan.seed else ""
    return f"{plan.benchmark} f{plan.fold} {plan.shot}-shot{seed} {label}"


class StepProgress:
    """The progress of work that consists of equal steps, such as a training; a context.

    Args:
        quiet: whether nothing is shown.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.display = choose_display(quiet=quiet)
        self._first: tuple[int, float] | None = None

    def __enter__(self) -> StepProgress:
        self.display.start(None)
        return self

    def __exit__(self, *_: object) -> None:
        self.display.stop()

    def say(self, text: str) -> None:
        """Print a message."""
        self.display.say(text)

    def show(self, step: int, steps: int, what: str) -> None:
        """Show that a step has ended.

        Args:
            step: number of the step, from 1.  The first that is shown may be a later one, if work is resumed.
            steps: number of all steps.
            what: its outcome, in words.
        """
        now = time.monotonic()
        self._first = self._first or (step, now)
        first, started = self._first
        rate = (step - first) / max(now - started, 1e-9)
        self.display.show(step, steps, what, rate)
