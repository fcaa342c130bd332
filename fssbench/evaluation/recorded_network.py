"""A frozen network whose work on a CUDA device is recorded once for each shape of its images, and replayed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence

import torch
from torch import Tensor

from fssbench.contracts.backbones import Backbone
from fssbench.evaluation.recording import Recording, Replayable

_ALIGNMENT = 128
"""Number of values to whose multiples maps are aligned in common memory, as torch aligns a new tensor."""
Maps = Mapping[str, Tensor]


class RecordedNetwork:
    """A network that computes the first image of a shape as usual, records the second, and replays from then on.

    Args:
        network: a network whose `replayable` is true.
        record: records work.
    """

    def __init__(
        self, network: Backbone, record: Callable[[Callable[[], Maps]], Replayable[Maps]] = Recording
    ) -> None:
        self._network = network
        self._record = record
        self._recordings: dict[Hashable, tuple[Tensor, Replayable[Maps]] | None] = {}
        """By shape: where its images are put, and the work; None after the first image, or if it cannot be recorded."""
        self._refused: set[Hashable] = set()

    def __call__(self, images: Tensor, taps: Sequence[str]) -> Maps:
        """Compute feature maps by tap; they are the caller's own."""
        key = tuple(taps), images.shape, images.stride(), images.dtype
        if (recorded := self._recordings.get(key)) is not None:
            place, work = recorded
            place.copy_(images)
            return _clone_together(work.replay())
        maps: Maps = self._network(images, taps)
        if key in self._recordings and key not in self._refused:
            self._learn(key, images, taps, maps)
        self._recordings.setdefault(key, None)
        return maps

    def _learn(self, key: Hashable, images: Tensor, taps: Sequence[str], maps: Maps) -> None:
        """Record the work on these images, and keep the recording if a replay gives the same maps."""
        self._refused.add(key)
        place = images.clone()
        try:
            work = self._record(lambda: self._network(place, taps))
        except Exception as error:
            self._give_up(f"cannot be recorded ({' '.join(str(error).split())[:200]})")
            return
        replayed = work.replay()
        if not all(torch.equal(replayed[tap], maps[tap]) for tap in taps):
            self._give_up("gives other features when it is replayed")
            return
        self._recordings[key] = place, work

    def _give_up(self, why: str) -> None:
        name = self._network.name
        warnings.warn(f"backbone {name!r}: its work on the device {why}; it runs call by call", stacklevel=2)


def _clone_together(maps: Maps) -> Maps:
    """Clone maps into one piece of memory, with few requests to the device."""
    first = next(iter(maps.values()))
    if any(each.dtype != first.dtype for each in maps.values()):
        return {tap: each.clone() for tap, each in maps.items()}
    sizes = [-(-each.numel() // _ALIGNMENT) * _ALIGNMENT for each in maps.values()]
    parts = first.new_empty(sum(sizes)).split(sizes)
    clones = {
        # an empty tensor without memory has the layout of a clone
        tap: part[: each.numel()].as_strided(each.shape, torch.empty_like(each, device="meta").stride())
        for (tap, each), part in zip(maps.items(), parts, strict=True)
    }
    torch._foreach_copy_([*clones.values()], [*maps.values()])
    return clones
