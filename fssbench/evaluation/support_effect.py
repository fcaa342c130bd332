"""Whether supports have an effect: an image is segmented again with other supports, and both answers are compared.

A method that answers the same does not look at the supports, for example because its weights find what is salient.  Its
answer may look good, and yet it is no answer to the question.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fssbench.contracts.episodes import Episode, Plan

UNCHANGED = 0.05
"""Largest share of changed pixels at which two answers count as the same."""


def count_agreement(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[int, int]:
    """Count the object pixels that both answers (H, W) have, and those that at least one of them has."""
    return int(np.count_nonzero(mask & other)), int(np.count_nonzero(mask | other))


def measure_effect(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Measure the share of the pixels of either object that belong to one of them only: 1 minus their IoU.

    Args:
        mask: the answer (H, W).
        other: the answer (H, W) to other supports.

    Returns:
        0 for equal answers, two empty ones included; 1 if they have no pixel in common.
    """
    same, either = count_agreement(mask, other)
    return (either - same) / either if either else 0.0


@dataclass(frozen=True)
class Replacement:
    """Supports of the second question about an episode."""

    episode: Episode
    """The episode with other supports; its class is that of these supports."""
    inverted: bool
    """Whether the masks of the supports are inverted instead, because the plan has no other class."""


def choose_probed_episodes(plan: Plan, number: int) -> tuple[int, ...]:
    """Choose the episodes that are asked a second time, each of another query; everybody chooses the same ones.

    They depend on the hash of the plan alone, and a smaller number chooses the first ones of a larger number.

    Args:
        plan: the plan.
        number: how many are wanted; a plan with fewer queries gives fewer.

    Returns:
        Indices in ascending order.
    """
    name = plan.sha256
    order = sorted(plan, key=lambda e: hashlib.sha256(f"{name}/probe/{e.index}".encode()).digest())
    by_query: dict[tuple[int, str], int] = {}
    for episode in order:
        if len(by_query) == number:
            break
        by_query.setdefault((episode.class_id, episode.query), episode.index)
    return tuple(sorted(by_query.values()))


class Replacements:
    """Gives each episode of a plan the supports of another class of the plan.

    They are the supports of the first episode of another class, from a place on that the hash of the plan and the index
    decide.  The query is never among them.  In a plan with one class, the episode keeps its supports and their masks
    are inverted: the other class is the background.

    Args:
        plan: the plan.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._sha256 = plan.sha256
        self._single = len({episode.class_id for episode in plan}) < 2

    def find(self, episode: Episode) -> Replacement:
        """Find the replacement of the supports of an episode."""
        if not self._single:
            for donor in self._list_others(episode.index):
                if donor.class_id != episode.class_id and episode.query not in donor.supports:
                    return Replacement(
                        replace(episode, class_id=donor.class_id, supports=donor.supports), False
                    )
        return Replacement(episode, True)

    def _list_others(self, index: int) -> Iterable[Episode]:
        words = hashlib.sha256(f"{self._sha256}/supports/{index}".encode()).digest()
        start, number = int.from_bytes(words[:8]), len(self._plan)
        return (self._plan[(start + step) % number] for step in range(number))
