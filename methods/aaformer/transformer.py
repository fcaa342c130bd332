"""AAFormer's transformer: query and supports attend to themselves, then the query to the supports through agents."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers.deformable import DeformableAttention
from ..layers.resize import read_size
from ..layers.token_sampling import Order, draw_support
from ..layers.transformer_parts import FeedForward, encode_positions, to_map, to_tokens
from .agents import AgentAttention

LAYERS = 2


class AgentTransformer(nn.Module):
    """Two layers; modules are named as in the release."""

    def __init__(self, width: int, *, align: bool, own_masks: bool) -> None:
        super().__init__()
        self.own_masks = own_masks
        self.level_embed = nn.Parameter(torch.randn(1, width))
        self.supp_level_embed = nn.Parameter(torch.randn(1, width))  # never used, as in the release
        self.cross_layers = nn.ModuleList(AgentAttention(width, align=align) for _ in range(LAYERS))
        self.qry_self_layers = nn.ModuleList(DeformableAttention(width, 1) for _ in range(LAYERS))
        self.supp_self_layers = nn.ModuleList(
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(width, 8, 2048, 0.1, batch_first=True),
                1,
                enable_nested_tensor=False,
            )
            for _ in range(LAYERS)
        )
        self.ffns = nn.ModuleList(FeedForward(width, 3 * width) for _ in range(3 * LAYERS))
        self.layer_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(6 * LAYERS))

    def forward(self, query: Tensor, support: Tensor, masks: Tensor, agents: Tensor, order: Order) -> Tensor:
        """Let the query attend.

        Args:
            query: (B, C, h, w).
            support: (B, K, C, h, w).
            masks: the object's cells in the supports (B, K, h, w), bool.
            agents: (B, A, C).
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
            norms, ffns = self.layer_norms[6 * layer :], self.ffns[3 * layer :]
            cells = norms[0](cells + self.qry_self_layers[layer](cells, positions, size))
            cells = norms[1](ffns[0](cells))
            tokens = norms[2](tokens + self.supp_self_layers[layer](tokens))
            tokens = norms[3](ffns[1](tokens))
            cells = norms[4](cells + self.cross_layers[layer](cells, tokens, sample.inside, agents))
            cells = norms[5](ffns[2](cells))
        return to_map(cells, size)
