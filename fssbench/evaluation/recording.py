"""The work of a call on a CUDA device, recorded once and replayed.

At one episode at a time a device waits for the program, which launches thousands of small kernels.  A replay launches
all of them at once: the same kernels, on the same memory, and so the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import torch

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


def says_replayable(plugin: object) -> bool:
    """Return whether the class of a method or backbone says itself that its work may be replayed.

    A class that derives from such a class has code of its own, which may branch on values.
    """
    return vars(type(plugin)).get("replayable", False) is True


class Replayable(Protocol[T_co]):
    """Recorded work."""

    def replay(self) -> T_co:
        """Do the work again on what its inputs hold now; the result lies where the last one lay."""


class Recording(Generic[T]):
    """Recorded work of a call.

    Args:
        call: reads the same memory each time, and neither waits for the device nor asks for a value.

    Raises:
        RuntimeError: if the call cannot be recorded.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            call()  # libraries set themselves up at their first call, which cannot be recorded
        torch.cuda.current_stream().wait_stream(beside)
        # on a stream of its own, whose workspaces no other recording uses at the same time
        self._graph = torch.cuda.CUDAGraph()
        # other threads may use the device meanwhile, such as those of another evaluation
        with torch.cuda.graph(self._graph, stream=beside, capture_error_mode="thread_local"):
            self._result = call()

    def replay(self) -> T:
        """Begin to do the work again; the result lies where the last one lay."""
        self._graph.replay()
        return self._result


class Stopwatch:
    """Time that a CUDA device takes for what is given to it between two moments.  Other devices are not timed."""

    def __init__(self, device: torch.device) -> None:
        timed = device.type == "cuda"
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if timed else []
        if timed:
            self._events[0].record()

    def stop(self) -> None:
        """Mark the end."""
        if self._events:
            self._events[1].record()

    def read_seconds(self) -> float:
        """Return the time in seconds, after the device has reached the end."""
        if not self._events:
            return 0.0
        began, ended = self._events
        ended.synchronize()
        return began.elapsed_time(ended) / 1000
