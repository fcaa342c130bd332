"""AAFormer's agents: parts of the object that support and query cells are compared with (Wang et al., ECCV 2022)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..layers.pfenet_base import INSIDE
from ..layers.prototypes import average_weighted
from ..layers.resize import read_size, resize
from ..layers.superpixels import cluster, sample_mask, select_seeds, spread_seeds
from ..layers.transformer_parts import EXCLUDED
from .transport import transport_tokens

AGENTS = 14
_KEPT = 0.1
"""Share of the tokens of other agents that training attends to all the same."""


def place_start_seeds(mask: NDArray[np.bool_], size: tuple[int, int]) -> list[tuple[int, int]]:
    """Cells (row, column) of the grid at which the agents of one support start: 14, or none without an object.

    Args:
        mask: the support's mask (H, W).
        size: height and width of the grid.
    """
    return spread_seeds(sample_mask(mask, size), AGENTS)


@torch.no_grad()
def make_agents(features: Tensor, support_mask: Tensor, rounds: int) -> Tensor:
    """Cluster the object of one support of each episode.

    Args:
        features: of the supports (B, C, h, w).
        support_mask: their masks (B, H, W), float.
        rounds: updates of the clusters.

    Returns:
        The centres (B, 14, C), the last of them zero where there are fewer.
    """
    size = read_size(features)
    weights = resize(support_mask.unsqueeze(1), size)[:, 0]
    masks = support_mask.cpu().numpy() == 1
    agents = features.new_zeros(len(features), AGENTS, features.shape[1])
    for b, mask in enumerate(masks):
        seeds = select_seeds(place_start_seeds(mask, size))
        inside = weights[b] > INSIDE
        if len(seeds) < 2 or not bool(inside.any()):
            centres = average_weighted(features[b], weights[b]).unsqueeze(0)
        else:
            centres = cluster(features[b], inside, seeds, rounds)
        agents[b, : len(centres)] = centres
    return agents


class AgentLearning(nn.Module):
    """Attention of the agents to the object's tokens, plus the agents, normed."""

    def __init__(self, width: int, inner: int = 512, dropout: float = 0.1) -> None:
        super().__init__()
        self.w_qkvs = nn.Linear(width, inner, bias=False)
        self.fc = nn.Linear(inner, width)
        self.layer_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, agents: Tensor, keys: Tensor, values: Tensor, inside: Tensor) -> Tensor:
        """Read tokens (B, T, C) inside (B, T), bool, for agents (B, A, C): (B, A, C)."""
        queries, keys, values = (self.w_qkvs(given) for given in (agents, keys, values))
        scores = queries @ keys.transpose(1, 2) + (~inside).to(queries.dtype).unsqueeze(1) * EXCLUDED
        read = self.dropout((scores / queries.shape[2] ** 0.5).softmax(dim=2)) @ values
        result: Tensor = self.layer_norm(self.fc(read) + agents)
        return result


class AgentAttention(nn.Module):
    """Attention of query cells to the support tokens that belong to the same agent."""

    def __init__(self, width: int, *, align: bool, dropout: float = 0.1) -> None:
        super().__init__()
        self.align = align
        self.q_fc = nn.Linear(width, width, bias=False)
        self.k_fc = nn.Linear(width, width, bias=False)
        self.v_fc = nn.Linear(width, width, bias=False)
        self.s_fc = nn.Linear(width, width, bias=False)
        self.seed_q_fc = nn.Linear(width, width, bias=False)
        self.seed_k_fc = nn.Linear(width, width, bias=False)
        self.proj = nn.Linear(width, width, bias=False)
        self.transformer_cross = AgentLearning(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, cells: Tensor, tokens: Tensor, inside: Tensor, agents: Tensor) -> Tensor:
        """Read the support tokens.

        Args:
            cells: of the query (B, N, C).
            tokens: of the supports (B, T, C).
            inside: whether a token counts as the object's (B, T), bool.
            agents: from `make_agents` (B, A, C).

        Returns:
            (B, N, C), without a residual.
        """
        keys, values = self.k_fc(tokens), self.v_fc(tokens)
        learnt = self.transformer_cross(self.s_fc(agents), keys, values, inside)
        of_query = _compute_cosines(self.q_fc(cells), self.seed_k_fc(learnt))
        of_support = transport_tokens(_compute_cosines(keys, self.seed_q_fc(learnt)), inside).relu()
        of_support = of_support.to(of_query.dtype)
        scores = of_query @ of_support.transpose(1, 2)
        if self.align:
            scores = scores + self._exclude(of_query, of_support)
        result: Tensor = self.proj(self.dropout(scores.softmax(dim=2)) @ values)
        return result

    @torch.no_grad()
    def _exclude(self, of_query: Tensor, of_support: Tensor) -> Tensor:
        """What is added to the score of each cell and token (B, N, T), from their likeness to the agents."""
        other = ~agree(of_query.argmax(dim=2).unsqueeze(2), of_support.argmax(dim=2).unsqueeze(1))
        if self.training:
            other &= torch.rand(other.shape, device=other.device) >= _KEPT
        return other.to(of_query.dtype) * EXCLUDED


def agree(first: Tensor, second: Tensor) -> Tensor:
    """Whether two numbers of agents are taken for the same, by the release's test.

    It asks if twice the square root of (i + 1.5) (j + 1.5) is whole.  That also holds for some numbers that differ.
    """
    double = ((first + 1.5) * (second + 1.5)).sqrt() * 2
    return double == double.round()


def _compute_cosines(one: Tensor, other: Tensor) -> Tensor:
    """Cosines (B, N, M) of vectors (B, N, C) and (B, M, C)."""
    return functional.normalize(one, dim=2) @ functional.normalize(other, dim=2).transpose(1, 2)
