"""The Dice loss of CyCTR, IPMT and AAFormer: background and foreground as two maps."""

from __future__ import annotations

import torch
from torch import Tensor


def compute_dice_loss(logits: Tensor, target: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Compute one minus the Dice score of each of two sigmoid maps, summed over both, averaged over episodes.

    Args:
        logits: background and foreground (B, 2, H, W).
        target: the objects' masks (B, H, W), bool.
        ignore: pixels (B, H, W), bool, that belong to neither map; a probability there still counts in the denominator.

    Returns:
        A scalar from 0 to 2.
    """
    chances = logits.float().sigmoid().flatten(2)
    truth = torch.stack([~target, target], dim=1)
    if ignore is not None:
        truth = truth & ~ignore.unsqueeze(1)
    truth = truth.flatten(2).to(chances.dtype)
    shared = (chances * truth).sum(dim=2)
    sizes = chances.square().sum(dim=2) + truth.sum(dim=2)
    return (1 - 2 * shared / sizes.clamp(min=1e-8)).sum(dim=1).mean()
