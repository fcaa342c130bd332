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
from ..layers.resize import Size, read_size, resize
from .shear import Shear, make_copies

WIDTH = 64
"""Channels of a head's output."""
_EPS = 1e-8
_MOST_PAIRS = 4_000_000
"""Pairs of cells whose cosines are in memory at once for all stacked heads; one head may have more."""
_SAFE_TEMPERATURE = 0.05
"""From this temperature on, exponentials of cosines do not overflow, and need no maximum subtracted."""


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
    heads: Sequence[TaskHead],
    views: Sequence[Views],
    mask_copies: Tensor,
    shears: Sequence[Shear],
    *,
    steps: int,
    rate: float,
    temperature: float,
) -> None:
    """Fit heads to one episode, in place, by plain gradient descent.

    Each head has a loss of its own.  Heads on maps of one shape are stacked and fitted together, which gives the
    processor fewer and larger operations.

    Args:
        heads: the heads, which are the only objects that change.
        views: maps of one tap for each head.
        mask_copies: sheared support masks (V * K, H, W).
        shears: the V shears of the copies.
        steps: number of gradient steps.
        rate: learning rate.
        temperature: temperature of the dense contrast.
    """
    places: dict[tuple[int, ...], list[int]] = {}
    for place, each in enumerate(views):
        places.setdefault(tuple(each.query.shape), []).append(place)
    for (_, _, height, width), members in places.items():
        images = len(views[members[0]].support_copies)
        together = max(1, _MOST_PAIRS // (images * (height * width) ** 2))
        for start in range(0, len(members), together):
            chosen = members[start : start + together]
            _fit_stack(
                [heads[i] for i in chosen],
                [views[i] for i in chosen],
                mask_copies,
                shears,
                steps=steps,
                rate=rate,
                temperature=temperature,
            )


def _fit_stack(
    heads: Sequence[TaskHead],
    views: Sequence[Views],
    mask_copies: Tensor,
    shears: Sequence[Shear],
    *,
    steps: int,
    rate: float,
    temperature: float,
) -> None:
    """Fit heads on maps of one shape.  Arguments as for `fit`."""
    count = len(heads)
    asked = _stack_cells([make_copies(each.query, shears) for each in views])
    asked_copies = _stack_cells([each.query_copies for each in views])
    shown = _stack_cells([make_copies(each.support, shears) for each in views])
    shown_copies = _stack_cells([each.support_copies for each in views])
    masks = resize(mask_copies.unsqueeze(1), read_size(views[0].support), align_corners=False)
    masks = masks.repeat(count, 1, 1, 1)
    plane = read_size(views[0].support)
    weights = [
        torch.stack([one.detach() for one in same]).requires_grad_()
        for same in zip(*(head.parameters() for head in heads), strict=True)
    ]
    with torch.enable_grad():
        for _ in range(steps):
            pairs = [
                (_describe(weights, plain, plane), _describe(weights, copied, plane))
                for plain, copied in ((asked, asked_copies), (shown, shown_copies))
            ]
            loss = compute_prototype_loss(*pairs[1], masks, count * len(shears))
            for plain, copied in pairs:
                loss = (
                    loss
                    + compute_contrast_loss(plain, copied, temperature)
                    + compute_moment_loss(plain, copied)
                )
            # the losses are means over the heads, and each head learns from its own
            gradients = torch.autograd.grad(count * loss, weights)
            with torch.no_grad():
                for values, gradient in zip(weights, gradients, strict=True):
                    values.add_(gradient, alpha=-rate)
    with torch.no_grad():
        for place, head in enumerate(heads):
            for own, values in zip(head.parameters(), weights, strict=True):
                own.copy_(values[place])


def compute_contrast_loss(plain: Tensor, copied: Tensor, temperature: float) -> Tensor:
    """Compute the dense InfoNCE loss: each cell of `plain` must match itself among all cells of its copy.

    Args:
        plain: unit vectors (N, D, h, w).
        copied: unit vectors (N, D, h, w).
        temperature: divisor of the cosines.
    """
    # dividing the vectors instead of all pairs, and the product of own cells instead of a diagonal, saves passes over
    # the largest tensor of the fit
    scaled = plain.flatten(2) / temperature
    likeness = scaled.transpose(1, 2) @ copied.flatten(2)
    own = (scaled * copied.flatten(2)).sum(dim=1)
    if temperature < _SAFE_TEMPERATURE:
        return (likeness.logsumexp(dim=2) - own).mean()
    return (likeness.exp_().sum(dim=2).log() - own).mean()


def compute_moment_loss(plain: Tensor, copied: Tensor) -> Tensor:
    """Compute the mean absolute differences of the channels' means and variances over the plane."""
    (var_a, mean_a), (var_b, mean_b) = (torch.var_mean(each.flatten(2), dim=2) for each in (plain, copied))
    return (mean_a - mean_b).abs().mean() + (var_a - var_b).abs().mean()


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


def _stack_cells(maps: Sequence[Tensor]) -> Tensor:
    """Stack the cells of maps (N, C, h, w), one per head, by image, row and column: (heads, C, N * h * w)."""
    return torch.stack([each.transpose(0, 1).flatten(1) for each in maps])


def _describe(weights: Sequence[Tensor], cells: Tensor, plane: Size) -> Tensor:
    """Compute unit vectors that describe cells, as `TaskHead.forward` does; its convolutions are matrix products.

    Args:
        weights: those of the heads in the order of `TaskHead.parameters`, each stacked.
        cells: cells of N maps for each head, (heads, C, N * h * w).
        plane: h and w.

    Returns:
        Maps (heads * N, 64, h, w).
    """
    kernel, bias, scale, shift, last_kernel, last_bias = weights
    hidden = torch.baddbmm(bias.unsqueeze(2), kernel.flatten(2), cells)
    # the norm of each channel of each head by itself
    normed = functional.batch_norm(
        hidden.flatten(0, 1).unsqueeze(0), None, None, scale.flatten(), shift.flatten(), training=True
    )
    active = functional.relu(normed).view_as(hidden)
    described = torch.baddbmm(last_bias.unsqueeze(2), last_kernel.flatten(2), active)
    units = functional.normalize(described, dim=1)
    return units.unflatten(2, (-1, *plane)).transpose(1, 2).flatten(0, 1)
