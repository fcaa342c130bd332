"""Optimal transport of support tokens to agents (Wang et al., ECCV 2022, section 3.4), by Sinkhorn's algorithm."""

from __future__ import annotations

import torch
from torch import Tensor

_SMOOTH = 0.05
_ROUNDS = 100
_SETTLED = 0.1
_OBJECT_TO_TRASH = 2.0
"""Cost of an object token that goes to no agent; a background token goes there at no cost."""


def transport_tokens(likeness: Tensor, inside: Tensor) -> Tensor:
    """Distribute the object's tokens evenly over the agents, and the background over none of them.

    Args:
        likeness: cosines of tokens and agents (B, T, A).
        inside: whether a token counts as the object's (B, T), bool.

    Returns:
        How much of each token goes to each agent (B, T, A); T times the plan, whose total is the object's share.
    """
    likeness = likeness.float()
    tokens, agents = likeness.shape[1:]
    trash = inside.to(likeness.dtype) * _OBJECT_TO_TRASH
    cost = torch.cat([1 - likeness, trash.unsqueeze(2)], dim=2)
    share = inside.to(likeness.dtype).mean(dim=1, keepdim=True)
    rows = likeness.new_full(likeness.shape[:2], 1 / tokens)
    columns = torch.cat([(share / agents).expand(-1, agents), 1 - share], dim=1)
    return tokens * solve_transport(cost, rows, columns)[..., :agents]


def solve_transport(cost: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Compute the entropic transport plan (B, N, M) of a cost (B, N, M) between masses (B, N) and (B, M).

    Each episode stops by itself, when its row factors change by less than 0.1 on average, or after 100 rounds.
    """
    kernel = (-cost / _SMOOTH).exp()
    by_row, by_column = torch.ones_like(rows), torch.ones_like(columns)
    settled = torch.zeros(len(cost), 1, dtype=torch.bool, device=cost.device)
    for _ in range(_ROUNDS):
        # sums of products, since automatic mixed precision would round a matrix product
        new_row = rows / (kernel * by_column.unsqueeze(1)).sum(dim=2)
        new_column = columns / (kernel * new_row.unsqueeze(2)).sum(dim=1)
        change = (new_row - by_row).abs().mean(dim=1, keepdim=True)
        by_row = torch.where(settled, by_row, new_row)
        by_column = torch.where(settled, by_column, new_column)
        settled = settled | (change < _SETTLED)
        if bool(settled.all()):
            break
    return by_row.unsqueeze(2) * kernel * by_column.unsqueeze(1)
