"""The walk of several methods through the episodes of a plan.

Methods of this process go in lockstep.  A method in a separate process goes at its own pace: it gets its next episode
as soon as it has answered, so a slow one holds nobody back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import wait

from fssbench.contracts.episodes import Episode
from fssbench.contracts.methods import Method
from fssbench.errors import DatasetContractError, FssbenchError, PluginError, RunFolderError
from fssbench.evaluation.inputs import Inputs
from fssbench.evaluation.method_run import MethodRun
from fssbench.evaluation.pace import Pace, find_slow
from fssbench.termination import Terminated, finished_before_termination

Watch = Callable[[str, int, int], None]
"""Called with a run's label, episodes done and episodes planned."""


def walk(
    runs: Sequence[MethodRun],
    episodes: Sequence[Episode],
    inputs: Inputs,
    watch: Watch | None,
    *,
    may_defer: bool,
) -> list[tuple[Method, FssbenchError]]:
    """Evaluate episodes with all runs that lack them.

    Args:
        runs: one per method, each with its folder open.
        episodes: in the order in which they are evaluated.
        inputs: tensors of the episodes.
        watch: called after each episode of each method.
        may_defer: whether a method of this process for which the others wait stops.

    Returns:
        The methods that broke, with their error.
    """
    walker = _Walk(runs, episodes, inputs, watch)
    together = [run for run in runs if run.apart is None]
    try:
        for episode in episodes:
            active = [run for run in together if run.is_active and run.lacks(episode.index)]
            with finished_before_termination():
                for run in active:
                    walker.step(run, episode)
                    walker.serve(0.0)
            if may_defer and (slow := find_slow(walker.collect_paces(active))) in active:
                slow.deferred = True
    except (Terminated, FssbenchError):
        for run in together:
            walker.settle(run)
        raise
    for run in together:
        with finished_before_termination():
            walker.settle(run)
        for episode in run.repeated.episodes:
            walker.repeat(run, episode)
            walker.serve(0.0)
        walker.finish(run)
    while walker.is_waiting:
        walker.serve(None)
    return walker.failed


class _Walk:
    """The state of a walk: where each method with a separate process is, and which methods broke."""

    def __init__(
        self, runs: Sequence[MethodRun], episodes: Sequence[Episode], inputs: Inputs, watch: Watch | None
    ) -> None:
        self._inputs = inputs
        self._watch = watch
        self.failed: list[tuple[Method, FssbenchError]] = []
        self._coming: dict[MethodRun, Iterator[tuple[Episode, bool]]] = {}
        """Episodes that each method with a process will get, and whether it computes them again."""
        self._waiting: dict[MethodRun, bool] = {}
        """Methods whose answer is expected, and whether it is that of a repeated episode."""
        for run in runs:
            lacking = [episode for episode in episodes if run.lacks(episode.index)]
            run.plan_repetitions(lacking)
            if run.apart is not None:
                again = [(episode, True) for episode in run.repeated.episodes]
                self._coming[run] = iter([*((episode, False) for episode in lacking), *again])
                self._send_next(run)

    @property
    def is_waiting(self) -> bool:
        """Whether an answer of a process is expected."""
        return bool(self._waiting)

    def collect_paces(self, active: Sequence[MethodRun]) -> dict[MethodRun, Pace]:
        """Collect the paces of these methods, and of those whose processes wait for this one."""
        apart = [run for run in self._waiting if run.pace.episodes]
        return {run: run.pace for run in (*active, *apart) if run.is_active}

    def step(self, run: MethodRun, episode: Episode) -> None:
        """Evaluate one episode in this process."""
        self._attempt(run, partial(run.step, episode, self._inputs))
        self._tell(run)

    def settle(self, run: MethodRun) -> None:
        """Store the episodes that the device computes for a method."""
        if run.broken is None and run.lanes:
            self._attempt(run, partial(run.settle, self._inputs))
            self._tell(run)

    def repeat(self, run: MethodRun, episode: Episode) -> None:
        """Compute one episode again in this process."""
        if run.is_active:
            self._attempt(run, partial(run.repeat, episode, self._inputs))

    def finish(self, run: MethodRun) -> None:
        """Write what is left of a method's run, so that it is whole while others go on."""
        if run.is_active:
            try:
                run.finish()
            except FssbenchError as error:
                self._stop(run, error)

    def serve(self, seconds: float | None) -> None:
        """Take the answers that are there, and give these methods their next episodes.

        Args:
            seconds: how long to wait for the first answer; None until there is one, or one is too late.
        """
        if not self._waiting:
            return
        handles = {
            handle: run for run in self._waiting if run.apart is not None for handle in run.apart.handles
        }
        left = {run: run.apart.seconds_left for run in self._waiting if run.apart is not None}
        ready = wait([*handles], max(0.0, min(left.values())) if seconds is None else seconds)
        now = {handles[handle]: None for handle in ready}
        now |= {run: None for run in left if run.apart is not None and run.apart.seconds_left <= 0}
        for run in now:
            with finished_before_termination():
                repeated = self._waiting.pop(run)
                self._attempt(run, partial(run.take, self._inputs, repeated=repeated))
                if not repeated:
                    self._tell(run)
            self._send_next(run)

    def _send_next(self, run: MethodRun) -> None:
        if not run.is_active:
            return
        episode, repeated = next(self._coming[run], (None, False))
        if episode is None:
            self.finish(run)
            return
        self._attempt(run, partial(run.send, episode, self._inputs, repeated=repeated))
        if run.is_active:
            self._waiting[run] = repeated

    def _attempt(self, run: MethodRun, step: Callable[[], None]) -> None:
        """Take a step of one method; if it breaks its contract, the others go on."""
        try:
            step()
        except DatasetContractError:
            raise
        except (PluginError, RunFolderError) as error:
            self._stop(run, error)

    def _stop(self, run: MethodRun, error: FssbenchError) -> None:
        run.broken = error
        self.failed.append((run.method, error))

    def _tell(self, run: MethodRun) -> None:
        if self._watch is not None and run.is_active:
            self._watch(run.label, run.count_done(), run.planned)
