"""Time that methods take, and which of them is too slow to go in lockstep with the others.

Methods in lockstep finish together, so three fast ones wait for a slow one until the end.  Features are computed once
for all of them, so a method that runs alone pays for its features again.  That is worth it for a method that takes
most of the time and far longer than its features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K")

EPISODES = 5
"""Number of episodes of each method before a method is called slow."""
SECONDS = 10.0
"""Time that these episodes have taken, for the same."""
FEATURES = 10.0
"""A slow method predicts at least this many times as long as it takes to get the inputs of an episode."""


@dataclass
class Pace:
    """Time that one method has taken in this process."""

    episodes: int = 0
    seconds: float = 0.0
    """Inputs included: an image is read, and its features computed, by the first method that needs it."""
    prediction_seconds: float = 0.0

    def add(self, seconds: float, prediction_seconds: float) -> None:
        """Add one episode."""
        self.episodes += 1
        self.seconds += seconds
        self.prediction_seconds += prediction_seconds


def find_slow(paces: Mapping[K, Pace]) -> K | None:
    """Find the method that the others wait for, if any.

    Args:
        paces: of the methods in lockstep; all of them since their first common episode.

    Returns:
        The method that predicts at least as long as all others together take, and `FEATURES` times as long as the
        inputs take; None if there is none, or it is too early to tell.
    """
    total = sum(pace.seconds for pace in paces.values())
    if len(paces) < 2 or total < SECONDS or min(pace.episodes for pace in paces.values()) < EPISODES:
        return None
    slowest = max(paces, key=lambda key: paces[key].prediction_seconds)
    own = paces[slowest].prediction_seconds
    inputs = total - sum(pace.prediction_seconds for pace in paces.values())
    return slowest if own >= max(total - own, FEATURES * inputs) else None
