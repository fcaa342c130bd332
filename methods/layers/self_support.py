"""Self-support (SSP): prototypes of an image from its cells with a confident first prediction."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .prototypes import average_over

_SCALE = 10.0
_SURE = (0.6, 0.7)
"""Probability above which a cell is confidently background, and confidently foreground."""
_FEWEST = 12
"""Number of most likely cells that are taken if no cell is confident."""
_ADAPTIVE_SCALE = 2.0
_EPS = 1e-5


@dataclass(frozen=True)
class Prototypes:
    """Prototypes of background and foreground: one vector (B, C, 1, 1), or one per cell (B, C, h, w)."""

    background: Tensor
    foreground: Tensor

    @classmethod
    def of_mask(cls, features: Tensor, mask: Tensor) -> Prototypes:
        """Average features (B, C, h, w) under soft masks (B, h, w) with values 0..1, and under their complements."""
        averages = [
            average_over(features, weights.unsqueeze(1), (2, 3), eps=_EPS, keepdim=True)
            for weights in (1 - mask, mask)
        ]
        return cls(*averages)

    def logits(self, features: Tensor) -> Tensor:
        """Compute 10 times the cosine of every cell with its prototypes, (B, 2, h, w)."""
        pair = (self.background, self.foreground)
        return _SCALE * torch.stack([functional.cosine_similarity(features, p, dim=1) for p in pair], dim=1)


def blend(*parts: tuple[float, Prototypes]) -> Prototypes:
    """Return the weighted sum of prototypes."""
    return Prototypes(
        sum((w * p.background for w, p in parts[1:]), parts[0][0] * parts[0][1].background),
        sum((w * p.foreground for w, p in parts[1:]), parts[0][0] * parts[0][1].foreground),
    )


def average_shots(prototypes: Prototypes, shots: int) -> Prototypes:
    """Average prototypes (B * K, C, ...) over K shots: (B, C, ...)."""
    pair = (prototypes.background, prototypes.foreground)
    return Prototypes(*(torch.unflatten(p, 0, (-1, shots)).mean(dim=1) for p in pair))


def find_self_support(features: Tensor, logits: Tensor) -> Prototypes:
    """Make prototypes from the confident cells of an image.

    The foreground prototype is the mean of the confident foreground cells.  The background prototype differs per cell,
    because backgrounds vary: 0.3 of the mean of the confident background cells, and 0.7 of their average weighted by
    similarity to that cell.

    Args:
        features: maps (B, C, h, w).
        logits: a first prediction (B, 2, h, w).

    Returns:
        Prototypes with a map (B, C, h, w) as background and a vector (B, C, 1, 1) as foreground.
    """
    probabilities = logits.softmax(dim=1).flatten(2)
    cells = features.flatten(2)
    sure_background, sure_foreground = (_select_sure(probabilities[:, i], _SURE[i]) for i in (0, 1))
    unit_cells = functional.normalize(cells, dim=1)
    likeness = _ADAPTIVE_SCALE * torch.einsum("bcn,bcm->bnm", unit_cells, unit_cells)
    likeness = likeness.masked_fill(~sure_background.unsqueeze(1), float("-inf")).softmax(dim=2)
    adaptive = torch.einsum("bcm,bnm->bcn", cells, likeness).unflatten(2, features.shape[-2:])
    background = 0.3 * _average_selected(cells, sure_background) + 0.7 * adaptive
    return Prototypes(background, _average_selected(cells, sure_foreground))


def add_self_support(prototypes: Prototypes, features: Tensor, logits: Tensor) -> Prototypes:
    """Return prototypes adapted to an image: its own background, and half of its own foreground."""
    own = find_self_support(features, logits)
    return Prototypes(own.background, 0.5 * prototypes.foreground + 0.5 * own.foreground)


def refine_prediction(
    first: Prototypes, second: Prototypes, features: Tensor, logits: Tensor
) -> tuple[Prototypes, Tensor]:
    """Repeat self-support on a prediction, and blend the result with the earlier prototypes.

    Args:
        first: prototypes of the supports.
        second: the same prototypes after `add_self_support`.
        features: maps (B, C, h, w).
        logits: prediction of `second`, (B, 2, h, w).

    Returns:
        The blended prototypes, and logits (B, 2, h, w).
    """
    third = add_self_support(first, features, logits)
    last = blend((0.5, first), (0.2, second), (0.3, third))
    return last, 0.7 * last.logits(features) + 0.3 * logits


def _select_sure(probability: Tensor, threshold: float) -> Tensor:
    """Select the confident ones of N cells, or the most likely cells if none is confident: (B, N), bool."""
    sure = probability > threshold
    likeliest = probability.topk(min(_FEWEST, probability.shape[1]), dim=1).indices
    fallback = torch.zeros_like(sure).scatter(1, likeliest, True)
    return torch.where(sure.any(dim=1, keepdim=True), sure, fallback)


def _average_selected(cells: Tensor, chosen: Tensor) -> Tensor:
    """Average the selected (B, N) of cells (B, C, N): (B, C, 1, 1)."""
    weights = chosen.to(cells.dtype).unsqueeze(1)
    return average_over(cells, weights, 2, eps=0)[..., None, None]
