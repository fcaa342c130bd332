"""Episodes that a CUDA device computes at once: each by a replay on a stream of its own, from memory of its own.

Most kernels of one episode use a part of a card, so that those of another one find room beside them.  They are the same
kernels on the same values, and so give the same bits as one after another.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fssbench.evaluation.buffers import Buffers
from fssbench.evaluation.given import Given
from fssbench.evaluation.recording import Stopwatch
from fssbench.evaluation.replays import Launched, Replays
from fssbench.evaluation.side_stream import SideStream

_PAYS_FROM = (8, 120, 350)
"""Number of episodes left from which on each lane pays.  On an H200 a recording took 0.15 s, and with the first,
second and third one an episode of HSNet took 20, 1.3 and 0.5 ms less."""
LANES = len(_PAYS_FROM)
"""Episodes that are computed at once.  A fourth gave HSNet 6 % on an H200, for a third more memory."""
_LEAST_FREE = 0.5
"""Share of a device's memory that must be free, after the first recording, for more than one lane."""
Taken = tuple[Given, tuple[NDArray[np.bool_], float] | None]
"""An episode, and its mask and time, or None as from `Launched.take`."""


class _Lane(NamedTuple):
    """Where an episode is computed."""

    buffers: Buffers
    stream: SideStream


class Lanes:
    """The episodes of one method that a device computes now, oldest first.

    Args:
        replays: recordings of the method's work.
        device: a CUDA device, or another one that stands in for it in tests.
        reserved: bytes of its memory that are kept for other things, such as features.
    """

    _taken: ClassVar[dict[torch.device, Stopwatch]] = {}
    """Stopwatch of the episode of any method that was taken last, by device: methods share its time."""

    def __init__(self, replays: Replays, device: torch.device, reserved: int) -> None:
        self._replays = replays
        self._device = device
        self._reserved = reserved
        self._lanes = [_Lane(Buffers(), SideStream(device)) for _ in range(LANES)]
        self._next = 0
        self._launched: deque[tuple[Given, Launched]] = deque()

    def __len__(self) -> int:
        """Return how many episodes the device computes."""
        return len(self._launched)

    @property
    def is_full(self) -> bool:
        """Whether an episode must be taken before the next one has a place."""
        return len(self._launched) == len(self._lanes)

    @property
    def is_ready(self) -> bool:
        """Whether there is a recording for each place, so that episodes need not wait for each other."""
        return len(self._replays) >= len(self._lanes)

    @property
    def buffers(self) -> Buffers:
        """Memory for the inputs of the next episode."""
        return self._lanes[self._next].buffers

    def launch(self, given: Given) -> bool:
        """Begin to compute an episode whose inputs are in `buffers`; return False if nothing is recorded for it."""
        stream = self._lanes[self._next].stream
        stream.catch_up()
        with stream.working():
            launched = self._replays.launch(given.tensors, given.size)
        if launched is None:
            return False
        self._launched.append((given, launched))
        self._advance()
        return True

    def learn(self, given: Given, mask: NDArray[np.bool_], left: int) -> None:
        """Record the work on an episode whose inputs are in `buffers`, if that pays.

        Args:
            given: the episode.
            mask: what the method predicted without a recording (H, W).
            left: number of episodes that are not stored yet, this one included.
        """
        before = len(self._replays)
        if left >= _PAYS_FROM[self._next]:
            self._replays.learn(given.tensors, given.size, mask)
        if len(self._replays) > before and self._has_room():
            self._advance()
        elif self._replays:
            del self._lanes[len(self._replays) :]
            self._next = 0

    def take(self) -> Taken:
        """Wait for the oldest episode; return it with its mask."""
        given, launched = self._launched.popleft()
        answer = launched.take(self._taken.get(self._device))
        self._taken[self._device] = launched.stopwatch
        return given, answer

    def _has_room(self) -> bool:
        if self._device.type != "cuda":
            return True
        free, total = torch.cuda.mem_get_info(self._device)
        return free - self._reserved >= _LEAST_FREE * total

    def _advance(self) -> None:
        self._next = (self._next + 1) % len(self._lanes)
