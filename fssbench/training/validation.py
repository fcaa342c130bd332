"""Validation during training: mIoU on fixed episodes that all processes share."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch

from fssbench.contracts.episodes import Episode
from fssbench.contracts.methods import Method
from fssbench.contracts.prediction import UNNAMED
from fssbench.evaluation.inputs import Inputs
from fssbench.evaluation.isolation import isolated
from fssbench.metrics import Score, count, score
from fssbench.plugins.calls import plugin_call
from fssbench.training.processes import Workers

SMALLER = "--size, --batch or --cache-mb"
"""Options of `train` whose smaller values need less memory."""


class Validation:
    """Fixed episodes on which a method is scored.

    Args:
        method: the method that is trained; it is in eval mode after a validation.
        inputs: reader of the images of the episodes.
        episodes: the episodes.
        world: this process among all; each of n processes computes every n-th episode.
        names: name of each class id, for a method that reads the class name.
    """

    def __init__(
        self,
        method: Method,
        inputs: Inputs,
        episodes: Sequence[Episode],
        world: Workers,
        names: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        self.episodes = tuple(episodes)
        self._method = method
        self._inputs = inputs
        self._world = world
        self._names = names
        self._own = self.episodes[world.rank :: world.size]
        self._classes = sorted({e.class_id for e in episodes})

    def expect(self) -> None:
        """Announce the images of one validation to the feature cache."""
        self._inputs.expect([self._method], self._own)

    def run(self) -> Score:
        """Score the method with its present weights; every process gets the same score."""
        self._method.eval()
        rows = torch.zeros((len(self.episodes), 4), dtype=torch.int64)
        for place, episode in enumerate(self.episodes):
            if place % self._world.size == self._world.rank:
                inter, union = self._count_pixels(episode)
                rows[place] = torch.tensor([*inter, *union])
        counts = self._world.total(rows).numpy()
        ids = [e.class_id for e in self.episodes]
        return score(ids, counts[:, :2], counts[:, 2:], self._classes, absent="exclude")

    def _count_pixels(self, episode: Episode) -> tuple[list[int], list[int]]:
        query, support, mask = self._inputs.of(
            self._method, episode, place=f"validation episode {episode.index}"
        )
        target = self._inputs.target(episode, original=False)
        size = (int(target.foreground.shape[0]), int(target.foreground.shape[1]))
        place = f"method {self._method.card.name!r}, validation episode {episode.index}"
        seed = zlib.crc32(f"validation/{episode.index}".encode())
        with plugin_call(f"{place}: raised", smaller=SMALLER), isolated(seed):
            class_names = (self._names.get(episode.class_id, UNNAMED),)
            prediction = self._method.segment(query, support, mask, size=size, class_names=class_names)
        inter, union = count(prediction[0].cpu().numpy(), target.foreground, target.ignored)
        return inter.tolist(), union.tolist()
