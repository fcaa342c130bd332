"""A method in a separate process: it receives tensors in shared memory and returns masks.

This process reads images, computes features, and counts; so the truth of a query never reaches the other one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fssbench.contracts.methods import Method
from fssbench.errors import PluginError
from fssbench.evaluation.batches import choose_batch
from fssbench.evaluation.buffers import Buffers
from fssbench.evaluation.method_call import EpisodeCall, segment_episode
from fssbench.evaluation.settings import Settings
from fssbench.evaluation.shared_tensors import SharedTensors
from fssbench.evaluation.weights_guard import WeightsGuard
from fssbench.plugins.calls import is_built_in
from fssbench.plugins.child_process import ChildProcess, Message, Reply, can_fork
from fssbench.plugins.source_hash import Source

GRACE = 3.0
"""Seconds in which an interrupted method may finish its episode."""


def runs_apart(method: Method, settings: Settings) -> bool:
    """Return whether a method gets a separate process.  A method that predicts several episodes together gets none."""
    if choose_batch(method, settings) > 1:
        return False
    if settings.inspect is not None or not can_fork() or torch.device(settings.device).type != "cpu":
        return False
    return not is_built_in(method) if settings.isolate is None else settings.isolate


def find_unprotected(methods: Iterable[Method], settings: Settings) -> list[str]:
    """Return the names of the methods of others that run in this process only because they cannot be apart."""
    if settings.isolate is False or settings.inspect is not None:
        return []
    names = {m.card.name for m in methods if settings.isolate or not is_built_in(m)}
    return sorted(names - {m.card.name for m in methods if runs_apart(m, settings)})


@dataclass(frozen=True)
class Answer:
    """Answer of a method for one episode."""

    mask: NDArray[np.bool_]
    """(H, W)"""
    seconds: float
    """Time of the prediction."""
    check: Callable[[], bool]
    """Raises the error if the method has changed its weights; returns whether every byte was compared."""


class IsolatedMethod:
    """A method in a separate process, and a second one that has seen no episode, for those that are computed again.

    What the method kept of the episodes, such as its answer to a query, is not there.

    Args:
        guard: the method with its weights as they were noted.
        source: its source files.
        timeout: seconds that an episode may take.

    Attributes:
        buffers: for the inputs of its next episode.
    """

    def __init__(self, guard: WeightsGuard, source: Source, timeout: float) -> None:
        self._timeout = timeout
        self._option = f"--episode-timeout {timeout:g} s"
        self._where = self._name = f"method {guard.method.card.name!r}"
        self._memory = SharedTensors()
        self.buffers = Buffers(self._memory)
        self._mask = torch.empty(0)
        self._deadline = 0.0
        work = _Work(guard, source, self._memory, torch.get_num_threads())
        self._process = self._first = ChildProcess(work.answer, self._name)
        self._second = ChildProcess(work.answer, self._name)

    @property
    def is_busy(self) -> bool:
        """Whether an answer is expected."""
        return self._process.busy

    @property
    def handles(self) -> list[Any]:
        """Handles that `wait` reports as ready when there is an answer."""
        return self._process.handles

    @property
    def seconds_left(self) -> float:
        """Time until the answer must be there."""
        return self._deadline - time.monotonic()

    def send(self, inputs: tuple[Any, Any, Tensor], call: EpisodeCall, *, repeated: bool) -> None:
        """Let the method predict an episode.

        Args:
            inputs: query, support and support mask, in `buffers`.
            call: what the method is told beside these.
            repeated: whether this is not the first time, so that the weights need not be compared.
        """
        if repeated:
            self._process = self._second
        self._mask = self.buffers.get("answer", call.size, torch.empty(0, dtype=torch.uint8))
        message = {
            "inputs": [self._refer(each) for each in inputs],
            "where": call.where,
            "size": call.size,
            "seed": call.seed,
            "class": call.class_name,
            "precision": call.precision,
            "mask": self._memory.refer(self._mask),
            "repeated": repeated,
        }
        self._ask(message, call.where)

    def receive(self) -> Answer:
        """Wait for the prediction of the episode that was sent.

        Raises:
            PluginError: if the method broke its contract, its process has ended, or it takes too long.
        """
        given = self._receive()
        seconds = given.get("seconds")
        if seconds is None and "error" in given:
            raise PluginError(str(given["error"]))
        if not isinstance(seconds, float) or not 0 <= seconds < math.inf:
            raise PluginError(f"{self._where}: its process sent something that is no answer")

        def check() -> bool:
            if "error" in given:
                raise PluginError(str(given["error"]))
            return bool(given.get("proven"))

        return Answer(self._mask.numpy() != 0, seconds, check)

    def check_all(self) -> bool:
        """Let the processes that have predicted compare every byte of the weights.

        Raises:
            PluginError: if they changed, or the process has ended.
        """
        for process in dict.fromkeys((self._first, self._process)):
            self._process = process
            self._ask({"check": True}, self._name)
            given = self._receive()
            if "error" in given:
                raise PluginError(str(given["error"]))
        return True

    def close(self) -> None:
        """End the processes; one that is busy may finish its episode first."""
        self._first.close()
        self._second.close()
        self._memory.close()

    def let_finish(self) -> None:
        """Wait a short time for a busy process, whose answer is dropped; end it if it does not answer."""
        if not self.is_busy:
            return
        try:
            self._process.receive(GRACE, self._where, "interrupted")
            self._process.busy = False
        except PluginError:
            pass

    def _ask(self, message: Message, where: str) -> None:
        self._where = where
        self._deadline = time.monotonic() + self._timeout
        self._process.send(message)

    def _receive(self) -> Message:
        message = self._process.receive(self.seconds_left, self._where, self._option)
        self._process.busy = False
        return message

    def _refer(self, given: Any) -> Any:
        if isinstance(given, Mapping):
            return {tap: self._memory.refer(tensor) for tap, tensor in given.items()}
        return self._memory.refer(given)


@dataclass(frozen=True)
class _Work:
    """Work of the separate process: it answers one message after the other."""

    guard: WeightsGuard
    source: Source
    memory: SharedTensors
    threads: int

    def answer(self, message: Message, reply: Reply) -> None:
        """Answer one message in the child."""
        if torch.get_num_threads() != self.threads:  # OpenMP has a number for each thread
            torch.set_num_threads(self.threads)
        if "check" in message:
            self.guard.check_all()
            reply({})
            return
        call = EpisodeCall(
            message["where"],
            tuple(message["size"]),
            message["seed"],
            message["class"],
            message["precision"],
        )
        query, support, mask = (self._read(each) for each in message["inputs"])
        began = time.monotonic()
        try:
            prediction = segment_episode(self.guard.method, (query, support, mask), call, source=self.source)
        except KeyboardInterrupt as error:  # of the method: this process ignores the signal
            raise PluginError(f"{call.where}: raised KeyboardInterrupt") from error
        seconds = time.monotonic() - began
        self.memory.read(message["mask"]).numpy()[:] = prediction
        if message["repeated"]:
            reply({"seconds": seconds})
            return
        try:
            reply({"seconds": seconds, "proven": self.guard.check_episode()})
        except PluginError as error:
            reply({"seconds": seconds, "error": str(error)})

    def _read(self, references: Any) -> Any:
        if isinstance(references, Mapping):
            return {tap: self.memory.read(each) for tap, each in references.items()}
        return self.memory.read(references)
