"""Batches of training episodes as tensors.

Their images are announced to the feature cache in advance, and those of the next forward pass are read while the
present one computes.  Neither changes which episodes are drawn, nor a bit of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fssbench.contracts.episodes import Episode
from fssbench.contracts.methods import Method, supervision_of
from fssbench.errors import DataError, UsageError
from fssbench.evaluation.inputs import Inputs
from fssbench.training.batch import Batch
from fssbench.training.episodes import ATTEMPTS, EpisodeStream, TrainingSet
from fssbench.training.processes import Workers

_AHEAD = 200_000
"""Requests that are announced to the feature cache at once; this bounds its memory."""


class Batches:
    """The part of each step's batch that this process computes.

    Args:
        method: the method that is trained.
        source: the training set.
        inputs: reader of the images of the training set.
        stream: the episodes.
        batch: episodes of one forward of one process.
        accumulate: forward passes per step.
        world: this process among all.

    Raises:
        UsageError: if the stream inverts episodes and the method learns the numbers of classes.
    """

    def __init__(
        self,
        method: Method,
        source: TrainingSet,
        inputs: Inputs,
        stream: EpisodeStream,
        batch: int,
        accumulate: int,
        world: Workers,
    ) -> None:
        if stream.invert and supervision_of(method) != "object":
            raise UsageError(
                f"--invert exchanges object and background, but method {method.card.name!r} learns the numbers of "
                "classes. Next: omit --invert"
            )
        self._method = method
        self._source = source
        self._inputs = inputs
        self._stream = stream
        self._batch = batch
        self._accumulate = accumulate
        self._world = world
        self._numbers = {class_id: i for i, class_id in enumerate(sorted(source.classes), start=1)}

    @property
    def effective(self) -> int:
        """Episodes of a step, over all processes."""
        return self._batch * self._accumulate * self._world.size

    def count_announced_steps(self, shot: int) -> int:
        """Return the number of steps whose images are announced at once."""
        return max(1, _AHEAD // (self._batch * self._accumulate * (shot + 1)))

    def _slots(self, part: int) -> range:
        """Slots of one forward pass; the slots of all processes cover the batch without a gap."""
        first = (part * self._world.size + self._world.rank) * self._batch
        return range(first, first + self._batch)

    def expect(self, first: int, last: int) -> None:
        """Announce the images of steps `first` to `last` (not included) to the feature cache."""
        self._inputs.expect(
            [self._method],
            [
                episode
                for step in range(first, last)
                for part in range(self._accumulate)
                for episode in self._list_episodes(step, part)
            ],
        )

    def _list_episodes(self, step: int, part: int) -> list[Episode]:
        """List the episodes of one forward pass, before any of them is drawn again."""
        return [self._stream.episode(step, slot) for slot in self._slots(part)]

    def of(self, step: int, *, is_last: bool = False) -> Iterator[Batch]:
        """Make the batches of this process for one step, one per forward pass.

        Args:
            step: optimiser step, from 0.
            is_last: whether no step follows, so that nothing is read for it.

        Raises:
            DataError: if an image cannot be read, or a class has no pixel in any of the draws.
        """
        for part in range(self._accumulate):
            following: list[Episode] = []
            if part + 1 < self._accumulate:
                following = self._list_episodes(step, part + 1)
            elif not is_last:
                following = self._list_episodes(step + 1, 0)
            self._inputs.read_next([*self._list_episodes(step, part), *following])
            drawn = [self._draw_episode(step, slot) for slot in self._slots(part)]
            self._inputs.read_next(following)
            episodes, queries, supports, masks, targets, ignored = zip(*drawn, strict=True)
            yield Batch(
                episodes=episodes,
                query=_concatenate(queries),
                support=_concatenate(supports),
                support_mask=torch.cat(masks),
                target=torch.stack(list(map(torch.from_numpy, targets))).to(self._world.device),
                ignore=torch.stack(list(map(torch.from_numpy, ignored))).to(self._world.device),
                numbers=torch.tensor(
                    [self._numbers[e.class_id] for e in episodes], device=self._world.device
                ),
                class_names=tuple(self._source.classes[e.class_id] for e in episodes),
                labels=self._label(episodes) if supervision_of(self._method) == "labelled" else None,
            )

    def doubts(self, batch: Batch) -> Iterator[str]:
        """Yield the kinds of doubt about each episode, one after the other."""
        for episode in batch.episodes:
            yield from self._inputs.doubts(episode)

    def _label(self, episodes: Sequence[Episode]) -> Tensor:
        """Return the number of the class of each pixel of the queries, (B, S, S); 0 for all others."""
        present = self._source.present
        labels = [self._inputs.numbered(e.query, present[e.query], self._numbers)[0] for e in episodes]
        return torch.stack(list(map(torch.from_numpy, labels))).to(self._world.device)

    def _truth(self, episode: Episode, inverted: bool) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the training target of a query and its ignored pixels, (S, S) each."""
        if supervision_of(self._method) == "classes":
            return self._inputs.numbered(episode.query, self._source.present[episode.query], self._numbers)
        target = self._inputs.target(episode, original=False)
        ignored = np.zeros_like(target.foreground) if target.ignored is None else target.ignored
        return target.foreground ^ inverted, ignored

    def _draw_episode(self, step: int, slot: int) -> tuple[Any, ...]:
        """Draw an episode whose supports all show its object at this size; return it with the tensors of a batch.

        A method learns nothing from a support without the object.
        """
        inverted = self._stream.inverted(step, slot)
        for attempt in range(ATTEMPTS):
            episode = self._stream.episode(step, slot, attempt)
            query, support, mask = self._inputs.of(self._method, episode, place=f"training step {step}")
            if inverted:
                mask = 1 - mask
            if bool(mask.flatten(2).any(dim=2).all()):
                return episode, *map(_copy, (query, support, mask)), *self._truth(episode, inverted)
        name = self._source.classes[episode.class_id]
        raise DataError(
            f"step {step}, episode {slot}: {'the background of ' if inverted else ''}class {name!r} "
            f"(id {episode.class_id}) has no pixel at {self._inputs.size} px in {ATTEMPTS} draws of supports. The last "
            f"supports were {', '.join(episode.supports)}. "
            f"Next: `fssbench data verify {self._source.dataset.card.name}`, or choose a larger --size"
        )


def _copy(given: Any) -> Any:
    """Copy tensors, because the same buffers are filled again for the next episode."""
    return given.clone() if isinstance(given, Tensor) else {k: v.clone() for k, v in given.items()}


def _concatenate(given: Sequence[Any]) -> Any:
    if isinstance(given[0], Tensor):
        return torch.cat(list(given))
    return {tap: torch.cat([each[tap] for each in given]) for tap in given[0]}
