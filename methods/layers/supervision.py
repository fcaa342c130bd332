"""The pixel loss of logits of any size, and the auxiliary losses of the PFENet family, one per scale."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from fssbench.api import pixel_loss

from .pfenet_head import Enriched
from .resize import read_size, resize


def compute_resized_loss(logits: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
    """Compute the pixel loss of logits (B, 2, h, w), which are first resized to the size of the targets.

    Args:
        logits: logits of background and foreground.
        target: foreground of the truth (B, H, W), bool.
        ignore: pixels that do not count (B, H, W), bool.
    """
    return pixel_loss(resize(logits.float(), read_size(target)), target, ignore)


class Auxiliary(Protocol):
    """A module that predicts further logits for the auxiliary loss."""

    def auxiliary(self, enriched: Enriched) -> list[Tensor]:
        """Return any number of logits (B, 2, h, w)."""


def compute_enriched_loss(enrich: Auxiliary, enriched: Enriched, target: Tensor, ignore: Tensor) -> Tensor:
    """Compute the loss of the logits plus the mean loss of the scales' auxiliary logits."""
    scales = [compute_resized_loss(logits, target, ignore) for logits in enrich.auxiliary(enriched)]
    return compute_resized_loss(enriched.logits, target, ignore) + torch.stack(scales).mean()
