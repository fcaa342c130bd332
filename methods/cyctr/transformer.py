"""CyCTR's transformer: the query attends to itself, then to cycle-consistent support tokens.

Zhang et al., NeurIPS 2021, section 3.3.  The cycle goes from a support token to its most similar query cell, and from
that cell to its most similar support token.  If the two support tokens do not both show the object, or both the
background, the first one is excluded from the attention.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers.deformable import DeformableAttention
from ..layers.resize import read_size
from ..layers.token_sampling import Order, draw_support
from ..layers.transformer_parts import EXCLUDED, FeedForward, encode_positions, to_map, to_tokens

LAYERS = 2
_KEPT = 0.1
"""Share of the inconsistent tokens that training attends to all the same."""


class CycleAttention(nn.Module):
    """Attention of query cells to support tokens, head by head to those that are consistent in a cycle."""

    def __init__(self, width: int, heads: int, *, cycle: bool, dropout: float = 0.1) -> None:
        super().__init__()
        self.heads, self.cycle = heads, cycle
        self.q_fc = nn.Linear(width, width, bias=False)
        self.k_fc = nn.Linear(width, width, bias=False)
        self.v_fc = nn.Linear(width, width, bias=False)
        self.proj = nn.Linear(width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, cells: Tensor, tokens: Tensor, inside: Tensor) -> Tensor:
        """Read the support tokens.

        Args:
            cells: of the query (B, N, C).
            tokens: of the supports (B, T, C).
            inside: whether a token counts as the object's (B, T), bool.

        Returns:
            (B, N, C), without a residual.
        """
        queries, keys, values = (
            layer(given).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, given in ((self.q_fc, cells), (self.k_fc, tokens), (self.v_fc, tokens))
        )
        scores = (queries @ keys.transpose(2, 3)) * queries.shape[3] ** -0.5
        if self.cycle:
            scores = scores + self._exclude(scores, inside).unsqueeze(2)
        read = self.dropout(scores.softmax(dim=3)) @ values
        result: Tensor = self.proj(read.transpose(1, 2).flatten(2))
        return result

    @torch.no_grad()
    def _exclude(self, scores: Tensor, inside: Tensor) -> Tensor:
        """What is added to the scores of each token (B, heads, T), from all scores (B, heads, N, T)."""
        inconsistent = ~find_consistent(scores, inside)
        if self.training:
            inconsistent &= torch.rand(inconsistent.shape, device=scores.device) >= _KEPT
        return inconsistent.to(scores.dtype) * EXCLUDED


def find_consistent(scores: Tensor, inside: Tensor) -> Tensor:
    """Find the support tokens whose cycle through the query ends at a token of the same kind."""
    there = scores.argmax(dim=2)
    back = scores.argmax(dim=3).gather(2, there)
    kinds = inside.unsqueeze(1).expand_as(back)
    return kinds.gather(2, back) == kinds


class CycleTransformer(nn.Module):
    """Two layers, each with attention within the query and to the supports."""

    def __init__(self, width: int, *, cycle: bool, own_masks: bool) -> None:
        super().__init__()
        heads = 8 if width % 12 else 12
        self.own_masks = own_masks
        self.level_embed = nn.Parameter(torch.randn(1, width))
        self.cross_layers = nn.ModuleList(CycleAttention(width, heads, cycle=cycle) for _ in range(LAYERS))
        self.qry_self_layers = nn.ModuleList(DeformableAttention(width, heads) for _ in range(LAYERS))
        self.ffns = nn.ModuleList(FeedForward(width, 3 * width) for _ in range(2 * LAYERS))
        self.layer_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4 * LAYERS))

    def forward(self, query: Tensor, support: Tensor, masks: Tensor, order: Order) -> Tensor:
        """Let the query attend.

        Args:
            query: (B, C, h, w).
            support: (B, K, C, h, w).
            masks: the object's cells in the supports (B, K, h, w), bool.
            order: decides in evaluation which support tokens take part; in training they are drawn at random.

        Returns:
            The query after attention (B, C, h, w).
        """
        size = read_size(query)
        positions = encode_positions(size, query.shape[1], query) + self.level_embed
        cells = to_tokens(query)
        for layer in range(LAYERS):
            if layer == 0 or self.training:
                tokens, sample = draw_support(
                    support, masks, order, training=self.training, own_masks=self.own_masks
                )
            norms, ffns = self.layer_norms[4 * layer :], self.ffns[2 * layer :]
            cells = norms[0](cells + self.qry_self_layers[layer](cells, positions, size))
            cells = norms[1](ffns[0](cells))
            cells = norms[2](cells + self.cross_layers[layer](cells, tokens, sample.inside))
            cells = norms[3](ffns[1](cells))
        return to_map(cells, size)
