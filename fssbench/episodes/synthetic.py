"""Episodes made in memory, for checks and measurements that need no data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SIDE = 64
"""Default side of the images in pixels."""


@dataclass(frozen=True)
class Synthetic:
    """A batch of procedural episodes: a bright disc is the class, on coloured noise."""

    query: Tensor
    support: Tensor
    mask: Tensor

    @classmethod
    def make(
        cls, batch: int = 1, shot: int = 1, height: int = SIDE, width: int = SIDE, *, raw: bool = False
    ) -> Synthetic:
        """Make a batch of episodes of any size, with values from 0 to 1 if `raw` is true."""
        generator = torch.Generator().manual_seed(0)
        shape = (8, 3, height, width)  # the same eight images for every batch and shot
        images = torch.rand(shape, generator=generator) * 2 - 1
        y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        centres = torch.rand((8, 2), generator=generator) - 0.5
        discs = torch.stack([((y - a) ** 2 + (x - b) ** 2 < 0.3).float() for a, b in centres.tolist()])
        images = images + discs[:, None] * torch.tensor([1.5, 0.5, -1.0]).view(3, 1, 1)
        if raw:
            images = (images - images.min()) / (images.max() - images.min())
        rows = torch.arange(batch)
        chosen = (rows[:, None] * 3 + torch.arange(shot)[None, :] + 1) % 8
        return cls(images[rows * 3 % 8].clone(), images[chosen].clone(), discs[chosen].clone())

    def one(self, index: int) -> Synthetic:
        """Return one episode of the batch."""
        part = slice(index, index + 1)
        return Synthetic(self.query[part], self.support[part], self.mask[part])
