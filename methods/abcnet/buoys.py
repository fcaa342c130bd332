"""Buoys: learned vectors by which query and support tokens are compared a second time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..dcama import MaskAttention

TEMPERATURE = 0.1
"""Divides the cosines of tokens and buoys before the softmax over buoys."""
DROPPED = 0.1
"""Probability that a buoy is left out of one training episode."""
NOISE = 0.1
"""Deviation of the noise on tokens in training, as a share of the tokens' own deviation."""
FLOOR = 1e-6
"""Added to a correlation before its logarithm."""
SPREAD_EPS = 1e-3
"""Added to the deviation of the logarithms, so that equal ones are standardised to zero."""


class Buoys(nn.Module):
    """Learned vectors that look at an episode, profile its tokens, and correlate the profiles.

    Args:
        count: number of buoys.
        width: length of a buoy and of a token.
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.empty(count, width))
        nn.init.orthogonal_(self.vectors)
        self.look = nn.MultiheadAttention(width, 1, batch_first=True)
        self.norm_look = nn.LayerNorm(width)
        self.think = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.norm_think = nn.LayerNorm(width)
        self.weigh = nn.Sequential(
            nn.Linear(2 * width, max(width // 4, 1)), nn.ReLU(), nn.Linear(max(width // 4, 1), 1)
        )
        self.gain = nn.Parameter(torch.zeros(()))
        """Share of the buoys in the score; it starts at zero, so that a training starts at the host method."""

    def penalty(self) -> Tensor:
        """Measure how far the buoys are from being orthogonal: a mean over pairs, 0 at best."""
        directions = functional.normalize(self.vectors, dim=1)
        products = directions @ directions.T
        return (products - torch.eye(len(products), device=products.device)).square().mean()

    def specialise(self, tokens: Tensor) -> Tensor:
        """Let the buoys attend to all tokens (B, T, d) of an episode: (B, N, d)."""
        buoys = self.vectors.expand(len(tokens), -1, -1)
        buoys = self.norm_look(buoys + self.look(buoys, tokens, tokens, need_weights=False)[0])
        specialised: Tensor = self.norm_think(buoys + self.think(buoys))
        return specialised

    def correlate(self, query: Tensor, support: Tensor, values: Tensor) -> Tensor:
        """Correlate tokens through the buoys, as standardised logarithms (B, N, M).

        Args:
            query: query tokens (B, N, d).
            support: tokens of all supports (B, M, d).
            values: mask values of the support tokens (B, M), 0..1.
        """
        buoys = self.specialise(torch.cat([query, support], dim=1))
        weights = self._weigh(buoys, support, values)
        if self.training:
            weights = weights * (torch.rand_like(weights) >= DROPPED)
            query, support = _add_noise(query), _add_noise(support)
        correlation = (_compute_profile(query, buoys) * weights.unsqueeze(1)) @ _compute_profile(
            support, buoys
        ).transpose(1, 2)
        logarithms = (correlation + FLOOR).log()
        spread, mean = torch.std_mean(logarithms, dim=(1, 2), keepdim=True, correction=0)
        return (logarithms - mean) / (spread + SPREAD_EPS)

    def _weigh(self, buoys: Tensor, support: Tensor, values: Tensor) -> Tensor:
        """Weigh the buoys (B, N, d) by what they and the object are: (B, N), one on average."""
        sums = values.sum(dim=1, keepdim=True).clamp(min=FLOOR)
        target = torch.bmm((values / sums).unsqueeze(1), support).expand_as(buoys)
        scores = self.weigh(torch.cat([buoys, target], dim=2)).squeeze(2)
        return scores.softmax(dim=1) * buoys.shape[1]


def _compute_profile(tokens: Tensor, buoys: Tensor) -> Tensor:
    """Compute the similarity of tokens (B, T, d) to each buoy (B, N, d), as shares that add up to 1: (B, T, N)."""
    cosines = functional.normalize(tokens, dim=2) @ functional.normalize(buoys, dim=2).transpose(1, 2)
    return (cosines / TEMPERATURE).softmax(dim=2)


def _add_noise(tokens: Tensor) -> Tensor:
    return tokens + NOISE * tokens.detach().std() * torch.randn_like(tokens)


class BuoyAttention(MaskAttention):
    """DCAMA's attention, its scores rectified by the correlation through buoys.

    Args:
        channels: channels of the tokens.
        heads: number of heads; it must divide `channels`.  All heads have the same buoys, which are of a head's width.
        buoys: number of buoys.
    """

    def __init__(self, channels: int, heads: int, buoys: int) -> None:
        super().__init__(channels, heads)
        self.buoys = Buoys(buoys, channels // heads)

    def score(self, asked: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Score (B, N, M) every pair of a query token (B, N, d) and a support token (B, M, d) in one head."""
        direct = super().score(asked, keys, values)
        return direct + self.buoys.gain * self.buoys.correlate(asked, keys, values)
