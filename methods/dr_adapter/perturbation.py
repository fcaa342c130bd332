"""Random changes of channel statistics in training, and the running statistics of the training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .rectification import Statistics, measure, replace_statistics

_LOCAL_DEVIATION = 0.75
_RATE = 0.01
"""Share of a new forward in the running statistics."""


class Noise(NamedTuple):
    """Random numbers of one cut for each episode and channel, each (B, C, 1, 1)."""

    scale: Tensor
    shift: Tensor

    def of_supports(self, shots: int) -> Noise:
        """Repeat the numbers of each episode for its K supports: (B * K, C, 1, 1)."""
        return Noise(*(each.repeat_interleave(shots, dim=0) for each in self))


class Perturbation(NamedTuple):
    """What a training forward does at one cut.  At least one kind of noise is there."""

    local: Noise | None
    """Changes each image relative to its own mean."""
    shared: Noise | None
    """Changes each image relative to the mean of the training images."""
    centre: Statistics | None
    """Running statistics (1, C, 1, 1) of the training images; None without shared noise, or if there are none yet."""

    @property
    def noise(self) -> Noise:
        """The noise that is applied again to the rectified maps: the local one if there is one."""
        noise = self.local or self.shared
        assert noise is not None
        return noise

    def of_supports(self, shots: int) -> Perturbation:
        """Return the perturbation of the K supports of each episode."""
        local, shared = (each and each.of_supports(shots) for each in (self.local, self.shared))
        return Perturbation(local, shared, self.centre)

    def apply(self, maps: Tensor) -> Tensor:
        """Perturb maps (B, C, h, w)."""
        if self.local is not None:
            maps = _move(maps, self.local, measure(maps).mean)
        if self.shared is not None and self.centre is not None:
            maps = _move(maps, self.shared, self.centre.mean)
        return maps

    def find_target(self, maps: Tensor) -> Statistics:
        """Return the statistics (B, C, 1, 1) to which maps (B, C, h, w) should come back after `apply`."""
        if self.local is None and self.centre is not None:
            return Statistics(*(each.expand(len(maps), -1, -1, -1) for each in self.centre))
        return measure(maps.detach())

    def perturb_again(self, maps: Tensor, statistics: Statistics) -> tuple[Tensor, Statistics]:
        """Perturb rectified maps (B, C, h, w) through their statistics, and return both."""
        noise = self.noise
        new = Statistics((1 + noise.shift) * statistics.mean, (1 + noise.scale) * statistics.variance)
        return replace_statistics(maps, statistics, new), new


def _move(maps: Tensor, noise: Noise, centre: Tensor) -> Tensor:
    return (1 + noise.scale) * maps - noise.scale * centre + noise.shift * centre


class TrainingStyle:
    """What the training carries from step to step: running statistics of each cut, and noise that stays for a while.

    Args:
        channels: channels of the maps at each cut.
        lasting: number of draws for which the shared noise stays the same.
    """

    def __init__(self, channels: Sequence[int], lasting: int) -> None:
        self._channels = tuple(channels)
        self._lasting = lasting
        self._memory: dict[str, Tensor] = {}

    def store(self) -> dict[str, Tensor]:
        """Return the state as tensors by name, which are not changed afterwards."""
        return dict(self._memory)

    def restore(self, memory: Mapping[str, Tensor]) -> None:
        """Take back what `store` returned."""
        self._memory = dict(memory)

    def draw(self, batch: int, device: torch.device, kinds: Sequence[str]) -> list[Perturbation] | None:
        """Draw the perturbation of each cut for B episodes; None in the quarter of cases without any.

        Each of the kinds (`local`, `global`) is used with a probability of one half.  Before the first `add` there is
        no mean of the training images, so the global kind is not used.
        """
        used = dict(zip(("local", "global"), (torch.rand(2) < 0.5).tolist(), strict=True))
        is_local = used["local"] and "local" in kinds
        shared = self._draw_shared(batch, device) if used["global"] and "global" in kinds else None
        if not is_local and shared is None:
            return None
        return [
            Perturbation(
                _draw_noise(batch, count, device, _LOCAL_DEVIATION) if is_local else None,
                shared[cut] if shared is not None else None,
                self._read_centre(cut, device) if shared is not None else None,
            )
            for cut, count in enumerate(self._channels)
        ]

    def add(self, cut: int, statistics: Statistics) -> None:
        """Add the statistics (N, C, 1, 1) of the images of one forward to the running ones."""
        new = {
            "mean": statistics.mean.detach().mean(dim=0, keepdim=True),
            "variance": statistics.variance.detach().mean(dim=0, keepdim=True),
            "weight": torch.ones((), device=statistics.mean.device),
        }
        for name, value in new.items():
            old = self._memory.get(f"{name}{cut}", torch.zeros_like(value)).to(value.device)
            self._memory[f"{name}{cut}"] = old.lerp(value, _RATE)

    def _read_centre(self, cut: int, device: torch.device) -> Statistics | None:
        """Return the running statistics (1, C, 1, 1), corrected for their short history; None if there are none."""
        if f"weight{cut}" not in self._memory:
            return None
        mean, variance, weight = (
            self._memory[f"{name}{cut}"].to(device) for name in ("mean", "variance", "weight")
        )
        return Statistics(mean / weight, variance / weight)

    def _draw_shared(self, batch: int, device: torch.device) -> list[Noise] | None:
        """Return the shared noise of each cut, which is drawn anew if its time is over or the batch is larger."""
        if not any(name.startswith("weight") for name in self._memory):
            return None
        age = int(self._memory.get("age", self._lasting))
        stale = age >= self._lasting or len(self._memory["scale0"]) < batch
        if stale:
            for cut, count in enumerate(self._channels):
                scale, shift = _draw_noise(batch, count, device, 1.0)
                self._memory |= {f"scale{cut}": scale, f"shift{cut}": shift}
        self._memory["age"] = torch.tensor(1 if stale else age + 1)
        return [
            Noise(*(self._memory[f"{name}{cut}"][:batch].to(device) for name in ("scale", "shift")))
            for cut in range(len(self._channels))
        ]


def _draw_noise(batch: int, channels: int, device: torch.device, deviation: float) -> Noise:
    """Draw normal noise (B, C, 1, 1), on the CPU, so that all devices meet the same numbers."""
    scale, shift = (deviation * torch.randn(batch, channels, 1, 1) for _ in range(2))
    return Noise(scale.to(device), shift.to(device))
