"""The work of a call on a CUDA device, recorded once and replayed.

At one episode at a time a device waits for the program, which launches thousands of small kernels.  A replay launches
all of them at once: the same kernels, on the same memory, and so the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

import torch

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Replayable(Protocol[T_co]):
    """Recorded work."""

    def replay(self) -> T_co:
        """Do the work again on what its inputs hold now; the result lies where the last one lay."""


class Recording(Generic[T]):
    """Recorded work of a call.

    Args:
        call: reads the same memory each time, which lasts as long as this recording, and neither waits for the device
            nor asks for a value.

    Raises:
        RuntimeError: if the call cannot be recorded.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            call()  # libraries set themselves up at their first call, which cannot be recorded
        torch.cuda.current_stream().wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        # other threads may use the device meanwhile, such as those of another evaluation
        record = torch.cuda.graph(self._graph, stream=beside, capture_error_mode="thread_local")
        with _own_workspaces(), record:
            self._result = call()

    def replay(self) -> T:
        """Begin to do the work again; the result lies where the last one lay."""
        self._graph.replay()
        return self._result


@contextmanager
def _own_workspaces() -> Iterator[None]:
    """Context of a recording whose matrix products get workspaces that no other work uses.

    torch has one workspace per stream, and few streams.  Two recordings from one stream would share it, although they
    may be replayed at the same time.
    """
    torch._C._cuda_clearCublasWorkspaces()
    try:
        yield
    finally:
        torch._C._cuda_clearCublasWorkspaces()


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

    def read_seconds(self, after: Stopwatch | None = None) -> float:
        """Return the time in seconds, after the device has reached the end.

        Args:
            after: of other work that the device did meanwhile; the time until its end is not counted again.
        """
        if not self._events:
            return 0.0
        began, ended = self._events
        ended.synchronize()
        milliseconds = began.elapsed_time(ended)
        if after is not None:
            milliseconds = min(milliseconds, max(0.0, after._events[1].elapsed_time(ended)))
        return milliseconds / 1000
