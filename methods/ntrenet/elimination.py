"""Learned background, and the elimination of background and of distracting objects at each scale.

NTRENet, sections 3.2 to 3.4.  Attributes are named as in the authors' checkpoints (`inital` included).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..layers.pfenet_head import (
    WIDTH,
    Merged,
    make_classifier,
    make_narrowing,
    make_reduction,
    make_refinement,
    scale_size,
)
from ..layers.resize import Size, read_size, resize

BACKGROUND = 1
"""Channel of the background in the logits of `BackgroundMining`; everywhere else it is channel 0."""


class BackgroundMining(nn.Module):
    """A prototype of the background of all images, learned, and a classifier that compares maps with it."""

    def __init__(self) -> None:
        super().__init__()
        self.bg_prototype = nn.Parameter(torch.zeros(1, WIDTH, 1, 1))
        self.down_bg = make_narrowing(2 * WIDTH)
        self.bg_res1 = make_refinement()
        self.bg_cls = make_classifier()

    def forward(self, maps: Tensor) -> Tensor:
        """Compute logits (B, 2, h, w) of no background and background from maps (B, 256, h, w)."""
        merged = self.down_bg(torch.cat([maps, _spread(self.bg_prototype, maps)], dim=1))
        out: Tensor = self.bg_cls(merged + self.bg_res1(merged))
        return out


class Query(NamedTuple):
    """What the elimination reads of an episode."""

    cells: Tensor
    """Query map (B, 256, h, w)."""
    vector: Tensor
    """Support vector (B, 256)."""
    prior: Tensor
    """Prior mask (B, 1, h, w)."""
    background: Tensor
    """Logits of the background (B, 2, h, w), see `BackgroundMining`."""


class Elimination(nn.Module):
    """Merges the input of each scale without background and distracting objects.

    Args:
        scales: one number for each scale, see `fssbench.methods.layers.pfenet_head.scale_size`.
    """

    def __init__(self, scales: Sequence[float]) -> None:
        super().__init__()
        self.scales = tuple(scales)
        self.init_merge1 = nn.ModuleList(make_reduction(2 * WIDTH) for _ in self.scales)
        self.init_merge2 = nn.ModuleList(make_reduction(2 * WIDTH + 1) for _ in self.scales)
        self.init_merge3 = nn.ModuleList(make_reduction(2 * WIDTH) for _ in self.scales)
        self.inital_beta_conv = nn.ModuleList(make_refinement() for _ in self.scales)
        self.inital_inner_cls = nn.ModuleList(make_classifier() for _ in self.scales)

    def forward(self, query: Query, prototype: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Merge the input of every scale.

        Args:
            query: what is read of B episodes.
            prototype: the learned background, (1, 256, 1, 1).

        Returns:
            Merged maps (B, 256, *cells) and initial logits (B, 2, *cells), one of each per scale.
        """
        merged, initial = zip(
            *(self._merge(i, query, prototype) for i in range(len(self.scales))), strict=True
        )
        return list(merged), list(initial)

    def _merge(self, scale: int, query: Query, prototype: Tensor) -> tuple[Tensor, Tensor]:
        size = scale_size(self.scales[scale], read_size(query.cells))
        cells = functional.adaptive_avg_pool2d(query.cells, size)
        near = self.init_merge1[scale](torch.cat([cells, _spread(prototype, cells)], dim=1))
        vector = _spread(query.vector[:, :, None, None], cells)
        x = self.init_merge2[scale](torch.cat([near, vector, resize(query.prior, size)], dim=1))
        x = x + self.inital_beta_conv[scale](x)
        initial = self.inital_inner_cls[scale](x)
        # divided by all cells of the scale, not by those of the objects, as in the reference
        objects = (cells * find_distracting(query.background, initial)).mean(dim=(2, 3), keepdim=True)
        out: Tensor = self.init_merge3[scale](torch.cat([x, _spread(objects, cells)], dim=1))
        return out, initial


def find_distracting(background: Tensor, initial: Tensor) -> Tensor:
    """Find the cells that are neither background nor predicted object: (B, 1, h, w), 0 or 1, without a gradient.

    Args:
        background: logits of the background (B, 2, H, W) at any resolution.
        initial: initial logits (B, 2, h, w) of the object.
    """
    is_background = resize(background, read_size(initial)).argmax(dim=1, keepdim=True) == BACKGROUND
    is_object = initial.argmax(dim=1, keepdim=True) == 1
    return (~is_background & ~is_object).to(initial.dtype)


def give_merged(merged: Sequence[Tensor]) -> Merged:
    """Make the function through which an enrichment takes maps that are merged already."""

    def give(scale: int, size: Size) -> Tensor:
        assert read_size(merged[scale]) == size
        return merged[scale]

    return give


def _spread(vectors: Tensor, maps: Tensor) -> Tensor:
    """Repeat vectors (B or 1, C, 1, 1) over the cells of maps (B, C', h, w): (B, C, h, w)."""
    return vectors.expand(maps.shape[0], -1, *read_size(maps))
