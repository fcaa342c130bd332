"""Styles of feature maps, and a memory of how the styles of single images differ from that of their domain.

A style (B, 2C) holds, for each of C channels, the mean over cells and the logarithm of the standard deviation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

VARIANCE_EPS = 1e-5
"""Added to a variance."""
DOMAIN_RATE = 0.01
"""Share of a new image in the running style of the domain."""
STORE_RATE = 0.05
"""Share of a new difference in the slot that it is stored in."""
TEMPERATURE = 0.1
"""Divides the cosines of keys before the softmax over slots."""


def measure_style(maps: Tensor) -> Tensor:
    """Measure the style (B, 2C) of maps (B, C, h, w)."""
    variance, mean = torch.var_mean(maps, dim=(2, 3), correction=0)
    return torch.cat([mean, (variance + VARIANCE_EPS).log() / 2], dim=1)


def change_style(maps: Tensor, style: Tensor, change: Tensor) -> Tensor:
    """Change the style of maps.

    Args:
        maps: (B, C, h, w).
        style: their style (B, 2C).
        change: what is added to it (B, 2C).

    Returns:
        (B, C, h, w); the same values where the change is zero.
    """
    mean, mean_change = style.chunk(2, dim=1)[0], change.chunk(2, dim=1)[0]
    factor = change.chunk(2, dim=1)[1].exp()
    shift = mean + mean_change - mean * factor
    return maps * factor[:, :, None, None] + shift[:, :, None, None]


class StyleMemory(nn.Module):
    """Slots of style differences with learned keys.

    The keys and the projection of a style to a key learn; the slots and the style of the domain are buffers that
    `store` moves in training.

    Args:
        channels: channels of the maps.
        slots: number of slots.
        key: length of a key.
    """

    differences: Tensor
    """(slots, 2C)."""
    domain_sum: Tensor
    """Weighted sum of the styles that were stored (2C)."""
    domain_weight: Tensor
    """Sum of the weights, a scalar; 0 if nothing was stored."""

    def __init__(self, channels: int, slots: int, key: int) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.randn(slots, key))
        self.project = nn.Linear(2 * channels, key)
        self.register_buffer("differences", torch.zeros(slots, 2 * channels))
        self.register_buffer("domain_sum", torch.zeros(2 * channels))
        self.register_buffer("domain_weight", torch.zeros(()))

    @property
    def domain(self) -> Tensor:
        """The style of the domain (2C): the running mean of all stored styles, zero if there is none."""
        return self.domain_sum / self.domain_weight.clamp(min=DOMAIN_RATE)

    def subtract_domain(self, style: Tensor) -> Tensor:
        """Compute how styles (B, 2C) differ from the style of the domain; zero if nothing was stored yet."""
        return (style - self.domain) * (self.domain_weight > 0)

    def address(self, style: Tensor) -> Tensor:
        """Compute the share of each slot for styles (B, 2C): (B, slots), which add up to 1."""
        keys = functional.normalize(self.keys, dim=1)
        cosines = functional.normalize(self.project(style), dim=1) @ keys.T
        return (cosines / TEMPERATURE).softmax(dim=1)

    def load(self, style: Tensor) -> Tensor:
        """Load the remembered differences of similar styles: (B, 2C)."""
        # `store` moves them before gradients are computed
        return self.address(style) @ self.differences.clone()

    @torch.no_grad()
    def store(self, style: Tensor) -> None:
        """Move the domain's style and the addressed slots a little towards styles (B, 2C)."""
        self.domain_sum.lerp_(style.mean(dim=0), DOMAIN_RATE)
        self.domain_weight.lerp_(torch.ones_like(self.domain_weight), DOMAIN_RATE)
        shares = STORE_RATE * self.address(style) / len(style)
        difference = self.subtract_domain(style)
        self.differences += shares.T @ difference - shares.sum(dim=0).unsqueeze(1) * self.differences

    @torch.no_grad()
    def draw_change(self, style: Tensor, *, fixed: bool) -> Tensor:
        """Draw what turns styles (B, 2C) into a share of a remembered difference from the domain.

        Args:
            style: styles of images.
            fixed: take half of the slot after the nearest, in place of a random share of a random other slot.

        Returns:
            Changes (B, 2C); zero if nothing was stored yet.
        """
        slots = len(self.differences)
        steps = torch.ones(len(style), device=style.device, dtype=torch.long)
        shares = torch.full((len(style), 1), 0.5, device=style.device)
        if not fixed:
            steps = torch.randint(1, max(slots, 2), steps.shape, device=style.device)
            shares = torch.rand_like(shares)
        other = (self.address(style).argmax(dim=1) + steps) % slots
        return shares * self.differences[other] * (self.domain_weight > 0) - self.subtract_domain(style)


class Enhancement(nn.Module):
    """Turns a difference and what the memory holds of similar ones into a change of style.

    The last layer starts at zero, so that the untrained module changes nothing.

    Args:
        channels: channels of the maps.
        hidden: width between the two layers.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.hide = nn.Linear(4 * channels, hidden)
        self.show = nn.Linear(hidden, 2 * channels)
        nn.init.zeros_(self.show.weight)
        nn.init.zeros_(self.show.bias)

    def forward(self, difference: Tensor, remembered: Tensor) -> Tensor:
        """Change of style (B, 2C) from two differences (B, 2C)."""
        change: Tensor = self.show(self.hide(torch.cat([difference, remembered], dim=1)).relu())
        return change
