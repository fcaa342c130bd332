"""How BAM weighs supports, and merges the predictions of its two learners."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers.resize import read_size, resize


def measure_scene_distance(query: Tensor, support: Tensor) -> Tensor:
    """Compute how far images are apart in style: the distance of their Gram matrices between channels, (B,).

    Args:
        query: (B, C, h, w).
        support: (B, C, h', w'), the whole image.
    """
    first, second = _compute_gram(query), _compute_gram(support)
    return torch.linalg.matrix_norm(first - second) / first.shape[-1]


def _compute_gram(maps: Tensor) -> Tensor:
    """Cosines between channels over cells, (B, C, C)."""
    rows = maps.flatten(2)
    norms = rows.norm(dim=2, keepdim=True)
    return rows @ rows.transpose(1, 2) / (norms @ norms.transpose(1, 2) + 1e-7)


def make_shot_layers(shots: int, width: int) -> nn.Module:
    """Make the layers that weigh supports by their scene distances; at the start all weigh the same.

    Args:
        shots: number of supports.
        width: width of the hidden layer; 0 for one linear layer.
    """
    if width == 0:
        linear = nn.Conv2d(shots, shots, 1, bias=False)
        nn.init.constant_(linear.weight, 1 / shots)
        return linear
    last = nn.Conv2d(width, shots, 1)
    nn.init.zeros_(last.weight)
    assert last.bias is not None
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Conv2d(shots, width, 1), nn.ReLU(), last)


def rate_shots(layers: nn.Module, distances: Tensor) -> tuple[Tensor, Tensor]:
    """Rate supports in ascending order of their distances (B, K): ratings (B, K) in that order, and the order."""
    ascending, order = distances.sort(dim=1)
    ratings: Tensor = layers(ascending[:, :, None, None])[:, :, 0, 0]
    return ratings, order


def weigh_shots(layers: nn.Module | None, distances: Tensor) -> Tensor:
    """Compute the weights of supports (B, K) from their distances (B, K); without layers they are equal."""
    if layers is None:
        return torch.full_like(distances, 1 / distances.shape[1])
    ratings, order = rate_shots(layers, distances)
    return torch.zeros_like(ratings).scatter(1, order, ratings).softmax(dim=1)


class Ensemble(nn.Module):
    """Corrects the meta learner's prediction by the scene distance and the base learner's map.

    Attributes are named as in the authors' checkpoints.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gram_merge = nn.Conv2d(2, 1, 1, bias=False)
        self.cls_merge = nn.Conv2d(2, 1, 1, bias=False)
        for layer in (self.gram_merge, self.cls_merge):
            layer.weight.data.copy_(torch.tensor([1.0, 0.0]).view(1, 2, 1, 1))

    def forward(self, meta: Tensor, base: Tensor, distance: Tensor) -> Tensor:
        """Merge probabilities: (B, 2, h, w), which are not normalised and serve as logits.

        Args:
            meta: probabilities of background and object (B, 2, h, w).
            base: probability of any base class (B, 1, h, w).
            distance: scene distances (B,).
        """
        far = distance.view(-1, 1, 1, 1).expand(-1, 1, *read_size(meta))
        background, target = (self.gram_merge(torch.cat([part, far], dim=1)) for part in meta.split(1, dim=1))
        return torch.cat([self.cls_merge(torch.cat([background, base], dim=1)), target], dim=1)


def sum_base_classes(logits: Tensor, size: tuple[int, int], numbers: Tensor | None = None) -> Tensor:
    """Compute the probability of any base class, (B, 1, *size).

    Args:
        logits: of background and base classes, (B, 1 + classes, h, w).
        size: height and width of the result.
        numbers: number of the base class that each episode asks for (B,); it is left out.
    """
    probabilities = logits.softmax(dim=1)
    total = probabilities[:, 1:].sum(dim=1, keepdim=True)
    if numbers is not None:
        own = numbers.view(-1, 1, 1, 1).expand(-1, 1, *read_size(logits))
        total = total - probabilities.gather(1, own)
    return resize(total, size)
