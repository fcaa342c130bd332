"""Cross-entropy of predictions at any resolution, and what the PFENet family adds: each scale by itself."""

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
    """What gives further logits of a result, to be taught as well."""

    def auxiliary(self, found: Enriched) -> list[Tensor]:
        """Logits (B, 2, h, w), any number of them."""


def enriched_loss(enrich: Auxiliary, found: Enriched, target: Tensor, ignore: Tensor) -> Tensor:
    """Loss of the logits, plus the mean of it over the scales' auxiliary logits, weight one."""
    scales = [resized_loss(logits, target, ignore) for logits in enrich.auxiliary(found)]
    return resized_loss(found.logits, target, ignore) + torch.stack(scales).mean()
