"""Cross-entropy of predictions at any resolution, and what the PFENet family adds: each scale by itself."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from .pfenet_head import Enriched, grid, resize


def pixel_loss(logits: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
    """Cross-entropy of logits (B, 2, h, w) at the targets' size; the mean over episodes of their pixels' means.

    Args:
        logits: background and foreground at any resolution.
        target: (B, H, W), bool.
        ignore: pixels left out (B, H, W), bool.
    """
    full = resize(logits.float(), grid(target))
    each = functional.cross_entropy(full, target.long(), reduction="none")
    counted = ~ignore
    return ((each * counted).sum(dim=(1, 2)) / counted.sum(dim=(1, 2)).clamp(min=1)).mean()


class Auxiliary(Protocol):
    """What gives further logits of a result, to be taught as well."""

    def auxiliary(self, found: Enriched) -> list[Tensor]:
        """Logits (B, 2, h, w), any number of them."""


def enriched_loss(enrich: Auxiliary, found: Enriched, target: Tensor, ignore: Tensor) -> Tensor:
    """Loss of the logits, plus the mean of it over the scales' auxiliary logits, weight one."""
    scales = [pixel_loss(logits, target, ignore) for logits in enrich.auxiliary(found)]
    return pixel_loss(found.logits, target, ignore) + torch.stack(scales).mean()
