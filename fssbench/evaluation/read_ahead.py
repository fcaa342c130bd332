"""Images of the next episodes, decoded and resized by threads while the network computes.

Only built-in plugins take part: a data set, method or backbone of others may use process-wide settings, such as
Pillow's `LOAD_TRUNCATED_IMAGES` or the filters of warnings, while another thread decodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from fssbench.plugins.execution import leave_out_this_thread

T = TypeVar("T")

EPISODES = 4
"""Number of episodes, the present one included, whose images are read."""
PER_WORKER = 2
"""Images per thread that are read and not yet taken."""


class ReadAhead(Generic[T]):
    """Threads that read images before they are asked for.

    Args:
        read: returns the image of an item, such as its pixels as the network sees them.
        workers: number of threads; 0 reads each image when it is asked for.

    Attributes:
        workers: number of threads.
    """

    def __init__(self, read: Callable[[str], T], workers: int) -> None:
        self._read = read
        self.workers = workers
        self._most = PER_WORKER * workers
        self._pool = (
            ThreadPoolExecutor(workers, "read-ahead", initializer=leave_out_this_thread) if workers else None
        )
        self._pending: dict[str, Future[T]] = {}

    def announce(self, items: Iterable[str], most: int | None = None) -> None:
        """Begin to read the images that will be asked for next, as many as memory is set aside for.

        Args:
            items: in the order of their requests; what was announced before and is not among them is dropped.
            most: images that may be read and not yet taken; `PER_WORKER` per thread by default.
        """
        if self._pool is None:
            return
        wanted = dict.fromkeys(items)
        for item in [item for item in self._pending if item not in wanted]:
            self._pending.pop(item).cancel()
        for item in wanted:
            if len(self._pending) >= (self._most if most is None else most):
                return
            if item not in self._pending:
                self._pending[item] = self._pool.submit(self._read, item)

    def take(self, item: str) -> T:
        """Return the image of an item; read it now if it was not announced.

        Raises:
            Exception: what reading it raised.
        """
        pending = self._pending.pop(item, None)
        return self._read(item) if pending is None or pending.cancel() else pending.result()

    def close(self) -> None:
        """End the threads; images that are not yet being read are dropped."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
