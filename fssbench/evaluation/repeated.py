"""Computes a few episodes again, after all others and in another order, so that a method with a memory is noticed.

A method that keeps state from one episode to the next gives figures that depend on the order of the episodes and on
where a run was interrupted or divided.  No single episode shows that.  So the last episode of a run is stored only
after the repeated ones gave the same masks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fssbench.contracts.episodes import Episode
from fssbench.evaluation.kept_masks import KeptMasks

MOST = 5
"""Largest number of episodes of a run that are computed again."""
LEAST = 2
"""Number of them in a short run."""
SHARE = 0.02
"""Share of the episodes of a run that is computed again, between these two numbers."""
TOLERANCE = 0.005
"""Share of the pixels that may differ on an accelerator, where some operators sum in a varying order."""


class Repeated:
    """The episodes of a run that are computed twice, with the masks of the first time.

    Args:
        episodes: that a method computes, in the order in which it does so.
        most: largest number of episodes that are computed again; 0 for none.

    Attributes:
        episodes: those that are computed again, in the order for that: the first one comes last.
    """

    def __init__(self, episodes: Sequence[Episode], most: int) -> None:
        number = min(most, len(episodes), max(LEAST, int(SHARE * len(episodes))))
        self.episodes = [episodes[k * len(episodes) // number] for k in reversed(range(number))]
        self._masks = KeptMasks(episode.index for episode in self.episodes)

    def keep(self, index: int, prediction: NDArray[np.bool_]) -> None:
        """Keep the mask of an episode, if it will be computed again."""
        self._masks.keep(index, prediction)

    def count_differing(self, index: int, prediction: NDArray[np.bool_]) -> int:
        """Count the pixels in which a mask differs from that of the first time."""
        first = self._masks.get(index)
        assert first is not None  # it was stored by this process
        return int(np.count_nonzero(first != prediction))
