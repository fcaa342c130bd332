"""The pixel loss at any resolution, and the auxiliary losses of the PFENet family: one per scale."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from fssbench.api import pixel_loss

from .pfenet_head import Enriched
from .resize import grid, resize


def resized_loss(logits: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
    """Compute the pixel loss of logits (B, 2, h, w) that are first resized to the size of the targets.

    Args:
        logits: background and foreground at any resolution.
        target: (B, H, W), bool.
        ignore: pixels left out (B, H, W), bool.
    """
    return pixel_loss(resize(logits.float(), grid(target)), target, ignore)


class Auxiliary(Protocol):
    """A module that predicts further logits from a result, for the auxiliary loss."""

    def auxiliary(self, enriched: Enriched) -> list[Tensor]:
        """Logits (B, 2, h, w), any number of them."""


def enriched_loss(enrich: Auxiliary, enriched: Enriched, target: Tensor, ignore: Tensor) -> Tensor:
    """Add the loss of the logits and its mean over the auxiliary logits of the scales."""
    scales = [resized_loss(logits, target, ignore) for logits in enrich.auxiliary(enriched)]
    return resized_loss(enriched.logits, target, ignore) + torch.stack(scales).mean()
