"""Selects the layer, or the fused set of layers, with which supports predict each other best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ..layers.resize import read_size, resize
from ..layers.self_support import Prototypes, add_self_support
from .layer_sets import list_sets, weigh_members

_EPS = 1e-6
Maps = Sequence[Tensor]
"""One map (N, C, h, w) per candidate layer, of N images, with cells of unit length."""


class Candidate(NamedTuple):
    """One layer, or several with weights.  Layers are counted from the first candidate."""

    layers: tuple[int, ...]
    weights: tuple[float, ...] = (1.0,)

    def fuse(self, maps: Maps) -> Tensor:
        """Compute the weighted sum (N, C, h, w) of the maps of its layers.

        The reference also divides each map by its root mean square.  That is the same number for all maps of unit
        cells, and cosines do not depend on it.
        """
        if len(self.layers) == 1:
            return maps[self.layers[0]]
        parts = [w * maps[layer] for w, layer in zip(self.weights, self.layers, strict=True)]
        return torch.stack(parts).sum(dim=0)


class Selection(NamedTuple):
    """What the selection computes, for one episode."""

    single: tuple[float, ...]
    """Score of each layer."""
    best: int
    """The layer with the highest score, the first of several."""
    sets: tuple[Candidate, ...]
    """The fused sets."""
    fused: tuple[float, ...]
    """Score of each set."""

    @property
    def winner(self) -> Candidate:
        """The candidate with the highest score, the first of several; single layers come before sets."""
        scores = [*self.single, *self.fused]
        place = scores.index(max(scores))
        return Candidate((place,)) if place < len(self.single) else self.sets[place - len(self.single)]


def normalise_cells(maps: Tensor) -> Tensor:
    """Scale the cells of maps (N, C, h, w) to unit length."""
    return functional.normalize(maps, dim=1, eps=_EPS)


def select_layers(maps: Maps, masks: Tensor, *, fusable: Sequence[bool]) -> Selection:
    """Score all layers, then the sets of layers around the best one.

    Args:
        maps: maps of N >= 2 supports.
        masks: masks (N, H, W), values 0 and 1.
        fusable: whether the map of a layer can be added to that of the last one; empty if nothing is fused.
    """
    single = torch.stack([score_candidate(each, masks) for each in maps])
    scores = single.tolist()
    best = scores.index(max(scores))
    sets = []
    for layers in list_sets(best, 0, len(maps) - 1) if fusable else ():
        members = [layer for layer in layers if fusable[layer]]
        weights = weigh_members(members, single[members])
        sets.append(Candidate(tuple(members), tuple(weights.tolist())))
    fused = [float(score_candidate(each.fuse(maps), masks)) for each in sets]
    return Selection(tuple(scores), best, tuple(sets), tuple(fused))


def score_candidate(maps: Tensor, masks: Tensor) -> Tensor:
    """Compute the mean IoU of supports that are predicted by the others, a scalar.

    Args:
        maps: (N, C, h, w).
        masks: (N, H, W), values 0 and 1.
    """
    count = len(maps)
    each = pool_mask(maps, masks)
    others = Prototypes(*(_average_others(vectors, count) for vectors in (each.background, each.foreground)))
    logits = resize(compare(maps, others), read_size(masks))
    predicted, truth = logits[:, 1] > logits[:, 0], masks > 0.5
    inter = (predicted & truth).sum(dim=(1, 2)).float()
    union = (predicted | truth).sum(dim=(1, 2)).float()
    return ((inter + _EPS) / (union + _EPS)).mean()


def compare(cells: Tensor, prototypes: Prototypes) -> Tensor:
    """Compute SSP's self-supported logits (N, 2, h, w) of maps (N, C, h, w)."""
    return add_self_support(prototypes, cells, prototypes.logits(cells)).logits(cells)


def pool_mask(maps: Tensor, masks: Tensor) -> Prototypes:
    """Make prototypes of maps (N, C, h, w) under masks (N, H, W)."""
    return Prototypes.of_mask(maps, resize(masks.unsqueeze(1), read_size(maps))[:, 0])


def _average_others(vectors: Tensor, count: int) -> Tensor:
    """Average for each of N vectors (N, ...) all others."""
    others = [[k for k in range(count) if k != i] for i in range(count)]
    return torch.stack([vectors[places].mean(dim=0) for places in others])
