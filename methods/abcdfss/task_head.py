"""The task heads of ABCDFSS, and how a head is fitted to a single episode.

A head reads the maps of one backbone tap.  The fit makes the description of a cell robust to shears of the image, and
separates the mean of the object from the mean of the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..layers.prototypes import average_over
from ..layers.resize import read_size, resize
from .shear import Shear, make_copies

WIDTH = 64
"""Channels of a head's output."""
_EPS = 1e-8


class TaskHead(nn.Module):
    """1x1 convolution to 64 channels, batch norm, ReLU, 1x1 convolution.

    The norm keeps no statistics and always uses those of its input.  The query and the set of supports are therefore
    normalised separately, as in the reference.

    Args:
        channels: number of channels of the maps.
        generator: generator on the CPU that draws the start weights (PyTorch's default distribution).
    """

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        with torch.device("meta"):  # whose constructors draw from no generator
            self.conv = nn.Conv2d(channels, WIDTH, 1)
            self.bn = nn.BatchNorm2d(WIDTH, track_running_stats=False)
            self.linear = nn.Conv2d(WIDTH, WIDTH, 1)
        self.to_empty(device="cpu")
        self.bn.reset_parameters()
        with torch.no_grad():
            for layer, fan_in in ((self.conv, channels), (self.linear, WIDTH)):
                for values in layer.parameters():
                    values.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)

    def forward(self, maps: Tensor) -> Tensor:
        """Describe maps (N, C, h, w) in 64 channels: (N, 64, h, w)."""
        described: Tensor = self.linear(functional.relu(self.bn(self.conv(maps))))
        return described


@dataclass(frozen=True)
class Views:
    """The maps of one tap in an episode, of the images and of their sheared copies.

    Copies are ordered by shear, with K supports per shear.
    """

    query: Tensor
    """(1, C, h, w)"""
    support: Tensor
    """(K, C, h, w)"""
    query_copies: Tensor
    """(V, C, h, w): features of the sheared query."""
    support_copies: Tensor
    """(V * K, C, h, w): features of the sheared supports."""


def fit(
    head: TaskHead,
    views: Views,
    mask_copies: Tensor,
    shears: Sequence[Shear],
    *,
    steps: int,
    rate: float,
    temperature: float,
) -> None:
    """Fit a head to one episode, in place, by plain gradient descent.

    Args:
        head: the head, which is the only object that changes.
        views: maps of one tap.
        mask_copies: sheared support masks (V * K, H, W).
        shears: the V shears of the copies.
        steps: number of gradient steps.
        rate: learning rate.
        temperature: temperature of the dense contrast.
    """
    query, support = make_copies(views.query, shears), make_copies(views.support, shears)
    masks = resize(mask_copies.unsqueeze(1), read_size(support), align_corners=False)
    optimiser = torch.optim.SGD(head.parameters(), lr=rate)
    with torch.enable_grad():
        for _ in range(steps):
            pairs = [
                (_describe(head, plain), _describe(head, copied))
                for plain, copied in ((query, views.query_copies), (support, views.support_copies))
            ]
            loss = compute_prototype_loss(*pairs[1], masks, len(shears))
            for plain, copied in pairs:
                loss = (
                    loss
                    + compute_contrast_loss(plain, copied, temperature)
                    + compute_moment_loss(plain, copied)
                )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def compute_contrast_loss(plain: Tensor, copied: Tensor, temperature: float) -> Tensor:
    """Compute the dense InfoNCE loss: each cell of `plain` must match itself among all cells of its copy.

    Args:
        plain: unit vectors (N, D, h, w).
        copied: unit vectors (N, D, h, w).
        temperature: divisor of the cosines.
    """
    likeness = plain.flatten(2).transpose(1, 2) @ copied.flatten(2) / temperature
    own = likeness.diagonal(dim1=1, dim2=2)
    return (likeness.logsumexp(dim=2) - own).mean()


def compute_moment_loss(plain: Tensor, copied: Tensor) -> Tensor:
    """Compute the mean absolute differences of the channels' means and variances over the plane."""
    a, b = plain.flatten(2), copied.flatten(2)
    return (a.mean(dim=2) - b.mean(dim=2)).abs().mean() + (a.var(dim=2) - b.var(dim=2)).abs().mean()


def compute_prototype_loss(plain: Tensor, copied: Tensor, masks: Tensor, count: int) -> Tensor:
    """Compute the loss that pulls the object's prototype to its copy's, and away from the copy's background.

    Args:
        plain: descriptions (V * K, D, h, w).
        copied: descriptions of the copies (V * K, D, h, w).
        masks: masks (V * K, 1, h, w), values 0..1.
        count: V.  Prototypes are pooled over the K supports of a shear.
    """
    object_plain = _average_prototypes(plain, masks, count)
    object_copied = _average_prototypes(copied, masks, count)
    rest_copied = _average_prototypes(copied, 1 - masks, count)
    near = functional.cosine_similarity(object_plain, object_copied, dim=1)
    far = functional.cosine_similarity(object_plain, rest_copied, dim=1)
    return functional.softplus(far - near).mean()


def _average_prototypes(maps: Tensor, masks: Tensor, count: int) -> Tensor:
    grouped, weights = (each.unflatten(0, (count, -1)) for each in (maps, masks))
    return average_over(grouped, weights, (1, 3, 4), eps=_EPS)


def _describe(head: TaskHead, maps: Tensor) -> Tensor:
    """Compute unit vectors (N, 64, h, w) that describe the cells of maps (N, C, h, w)."""
    return functional.normalize(head(maps), dim=1)
