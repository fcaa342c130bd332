"""Prototype mixtures: EM fits a few unit vectors to the cells of an object (PMMs, ECCV 2020)."""

from __future__ import annotations

import zlib
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ..layers.prototypes import scale_to_unit

_ROUNDS = 10
_KAPPA = 20.0
"""Concentration of the mixture's components."""
_EPS = 1e-6


@cache
def _draw_noise(word: str, channels: int, count: int) -> Tensor:
    generator = np.random.Generator(np.random.Philox(key=zlib.crc32(f"{word}PMMs.mu.{count}".encode())))
    return torch.from_numpy(generator.standard_normal((1, channels, count)).astype(np.float32))


def draw_directions(word: str, channels: int, count: int) -> Tensor:
    """Draw the directions from which the components start, (1, C, k).

    They are normal noise, seeded by the word and k alone.
    """
    return scale_to_unit(_draw_noise(word, channels, count), eps=_EPS)


@torch.no_grad()
def fit_mixture(cells: Tensor, components: Tensor) -> Tensor:
    """Fit the components' directions to cells.  No gradient flows through the result.

    Args:
        cells: features (B, C, N).  A cell of zeros, such as a masked one, has no effect.
        components: start values, (1, C, k) or (B, C, k).

    Returns:
        Unit vectors (B, C, k), or zeros if all cells are zero.
    """
    centres = components.expand(len(cells), -1, -1)
    for _ in range(_ROUNDS):
        shares = (_KAPPA * cells.transpose(1, 2) @ centres).softmax(dim=2)
        shares = shares / (_EPS + shares.sum(dim=1, keepdim=True))
        centres = scale_to_unit(cells @ shares, eps=_EPS)
    return centres


@torch.no_grad()
def compute_shares(cells: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """Compute the shares (B, 2, h, w) of the background's and the foreground's components in every cell.

    Args:
        cells: features (B, C, h, w), not normalised.
        foreground: directions (B, C, k).
        background: directions (B, C, k).
    """
    every = torch.cat([background, foreground], dim=2)
    shares = torch.einsum("bchw,bck->bkhw", cells, every).softmax(dim=1)
    return torch.stack([part.sum(dim=1) for part in shares.chunk(2, dim=1)], dim=1)
