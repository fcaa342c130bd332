"""Training losses of NTRENet: the learned background, and the contrast with distracting objects."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from ..layers.prototypes import average_weighted
from ..layers.resize import read_size, resize
from .elimination import BACKGROUND

_KEPT = 2000
"""Negatives that are kept per class, newest first."""
_DRAWN = 1000
"""Negatives of its class that an episode is compared with, at most."""


def compute_background_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the loss of background logits, a scalar: the object is none, everything else more likely is.

    Args:
        logits: (B, 2, h, w), see `BackgroundMining`.
        target: the object (B, H, W), bool; pixels marked 255 and padding are not in it.
    """
    logs = resize(logits.float(), read_size(target)).log_softmax(dim=1)
    area = target.sum(dim=(1, 2))
    on_object = -(logs[:, 1 - BACKGROUND] * target).sum(dim=(1, 2)) / (area + 1e-5)
    return on_object.mean() - 0.5 * logs[:, BACKGROUND].mean()


class Negatives:
    """Vectors of distracting objects by class, newest first; they live as long as the training.

    Attributes:
        by_class: (n, 256) for each class number.
    """

    def __init__(self, by_class: Mapping[int, Tensor] | None = None) -> None:
        self.by_class: dict[int, Tensor] = dict(by_class or {})

    def add(self, number: int, vectors: Tensor) -> None:
        """Put vectors (n, 256) in front of those of their class; the oldest beyond 2,000 are dropped."""
        vectors = vectors.detach().float()
        if number in self.by_class:
            vectors = torch.cat([vectors, self.by_class[number].to(vectors.device)])
        self.by_class[number] = vectors[:_KEPT]

    def draw(self, number: int) -> Tensor:
        """Draw at most 1,000 vectors of a class, with the global generator if there are more."""
        vectors = self.by_class[number]
        if len(vectors) <= _DRAWN:
            return vectors
        return vectors[torch.randperm(len(vectors))[:_DRAWN].to(vectors.device)]


def contrast_loss(base: Tensor, positive: Tensor, negatives: Tensor) -> Tensor:
    """Compute the contrast of one episode, a scalar.

    The positive is not in the denominator, and the sum over negatives is not averaged, as in the reference.

    Args:
        base: vector of the predicted object, (256,).
        positive: vector of the support's object, (256,).
        negatives: vectors of distracting objects, (n, 256).
    """
    near = functional.cosine_similarity(base, positive, dim=0).exp()
    far = functional.cosine_similarity(base[None], negatives, dim=1).exp().sum()
    return -(near / far + 1e-8).log()


def pool_object(maps: Tensor, target: Tensor) -> Tensor:
    """Average maps (B, C, h, w) over a target (B, H, W), bool, resized to nearest cells: (B, C)."""
    return average_weighted(maps, shrink(target, maps))


def pool_distracting(maps: Tensor, background: Tensor, target: Tensor) -> Tensor:
    """Average maps over the cells that are neither background nor object: (B, C).

    Args:
        maps: (B, C, h, w).
        background: logits of the background (B, 2, h, w).
        target: the object (B, H, W), bool.
    """
    is_background = background.argmax(dim=1) == BACKGROUND
    return average_weighted(maps, (~is_background).to(maps.dtype) * (1 - shrink(target, maps)))


def shrink(target: Tensor, maps: Tensor) -> Tensor:
    """Resize a target (B, H, W), bool, to the nearest cells of maps (B, C, h, w): (B, h, w), 0 or 1."""
    small = functional.interpolate(target.unsqueeze(1).float(), read_size(maps), mode="nearest")
    return small[:, 0].to(maps.dtype)
