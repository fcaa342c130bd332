"""IPMT's transformer: prototypes mined from the supports, then from the query, which they update in turn.

Liu et al., NeurIPS 2022, section 3; as the released code has it, which the notes of the card compare with the paper.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..layers.deformable import DeformableAttention
from ..layers.pfenet_head import make_reduction, make_refinement
from ..layers.resize import read_size
from ..layers.transformer_parts import EXCLUDED, FeedForward, encode_positions, to_map, to_tokens

LAYERS = 5
_RELEASED_FFNS = 15
"""Feed-forward layers that the release builds, each with two norms; it uses the first ten."""


class Mined(NamedTuple):
    """What the transformer makes of B episodes of K shots."""

    query: Tensor
    """The query after all layers (B, C, h, w)."""
    query_masks: Tensor
    """Mask logits of the query (B, 10, h, w): of the prototypes from the supports, then of those from the query."""
    support_masks: Tensor
    """Mask logits of the supports (B, 5, K, h, w), of the prototypes from the query."""


class MaskedAttention(nn.Module):
    """One head of attention of a prototype to the tokens inside a mask; `mark` is part of the layers' names."""

    def __init__(self, width: int, mark: str = "", dropout: float = 0.1) -> None:
        super().__init__()
        self._names = tuple(f"{letter}{mark}_fc" for letter in "qkv")
        for name in self._names:
            self.add_module(name, nn.Linear(width, width, bias=False))
        self.proj = nn.Linear(width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, prototype: Tensor, tokens: Tensor, inside: Tensor) -> Tensor:
        """Read tokens (B, N, C) inside (B, N), bool, for prototypes (B, 1, C): (B, 1, C), without a residual.

        If no token is inside, all are read.
        """
        to_query, to_key, to_value = (self.get_submodule(name) for name in self._names)
        scores = to_query(prototype) @ to_key(tokens).transpose(1, 2) * tokens.shape[2] ** -0.5
        scores = scores + (~inside).to(scores.dtype).unsqueeze(1) * EXCLUDED
        result: Tensor = self.proj(self.dropout(scores.softmax(dim=2)) @ to_value(tokens))
        return result


class PrototypeTransformer(nn.Module):
    """Five layers; modules are named as in the release."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.level_embed = nn.Parameter(torch.randn(1, width))
        self.prototype = nn.Embedding(1, width)
        self.cross_layers = nn.ModuleList(MaskedAttention(width) for _ in range(LAYERS))
        self.decoder_cross_attention_layers = nn.ModuleList(
            MaskedAttention(width, "1") for _ in range(LAYERS)
        )
        self.qry_self_layers = nn.ModuleList(DeformableAttention(width, 1, bias=True) for _ in range(LAYERS))
        self.ffns = nn.ModuleList(FeedForward(width, 3 * width) for _ in range(_RELEASED_FFNS))
        self.layer_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * _RELEASED_FFNS))
        self.decoder_norm = nn.LayerNorm(width)
        self.mask_embed = FeedForward(width, width)
        self.update_q = nn.ModuleList(make_reduction(2 * width, width) for _ in range(LAYERS - 1))
        self.res_q = nn.ModuleList(make_refinement(width) for _ in range(LAYERS - 1))

    def forward(self, query: Tensor, initial: Tensor, support: Tensor, masks: Tensor) -> Mined:
        """Mine prototypes and update the query.

        Args:
            query: (B, C, h, w).
            initial: a first mask of the query (B, h, w), bool.
            support: (B, K, C, h, w).
            masks: the object's cells in the supports (B, K, h, w), bool.
        """
        size = read_size(query)
        objects = support.flatten(3).permute(0, 1, 3, 2).flatten(1, 2)
        prototypes = self._mine_supports(objects, masks.flatten(1))
        cells = to_tokens(query)
        positions = encode_positions(size, query.shape[1], query) + self.level_embed
        first_masks = [self._predict_mask(prototype, cells) for prototype in prototypes]
        query_masks, support_masks = [], []
        inside = initial.flatten(1)
        for layer, prototype in enumerate(prototypes):
            place = LAYERS + layer
            attended = self.qry_self_layers[layer](cells, positions, size)
            cells = self._norm_and_feed(cells + attended, place)
            joint = prototype + self.decoder_cross_attention_layers[layer](prototype, cells, inside)
            query_masks.append(self._predict_mask(joint, cells))
            support_masks.append(self._predict_mask(joint, objects))
            inside = query_masks[-1] >= 0
            if layer < LAYERS - 1:
                pair = torch.cat([cells, joint.expand_as(cells)], dim=2)
                updated = self.update_q[layer](to_map(pair, size))
                cells = to_tokens(updated + self.res_q[layer](updated))
        return Mined(
            to_map(cells, size),
            torch.stack(first_masks + query_masks, dim=1).unflatten(2, size),
            torch.stack(support_masks, dim=1).unflatten(2, masks.shape[1:]),
        )

    def _mine_supports(self, objects: Tensor, inside: Tensor) -> list[Tensor]:
        """Prototypes (B, 1, C) after each of the five layers, from support tokens (B, N, C) inside masks (B, N)."""
        prototype = self.prototype.weight.expand(len(objects), 1, -1)
        prototypes = []
        for layer in range(LAYERS):
            attended = self.cross_layers[layer](prototype, objects, inside)
            prototype = self._norm_and_feed(prototype + attended, layer)
            prototypes.append(prototype)
        return prototypes

    def _norm_and_feed(self, tokens: Tensor, place: int) -> Tensor:
        """Apply norm, feed-forward layer number `place`, and norm."""
        before, after = self.layer_norms[2 * place], self.layer_norms[2 * place + 1]
        result: Tensor = after(self.ffns[place](before(tokens)))
        return result

    def _predict_mask(self, prototype: Tensor, tokens: Tensor) -> Tensor:
        """Mask logits (B, N) of tokens (B, N, C): their products with the prototype (B, 1, C), normed and mapped."""
        embedded = self.mask_embed(self.decoder_norm(prototype))
        return (tokens @ embedded.transpose(1, 2)).squeeze(2)
