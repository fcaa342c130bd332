"""The loss of a prediction, pixel by pixel."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def pixel_loss(
    logits: Tensor, target: Tensor, ignore: Tensor | None, *, label_smoothing: float = 0.0
) -> Tensor:
    """Compute the cross-entropy of logits (B, C, H, W), a scalar.

    Pixels are averaged within each episode and the episodes after that.

    Args:
        logits: of C classes, at the size of the targets.
        target: numbers of the classes (B, H, W), bool or integer.
        ignore: the pixels that are left out (B, H, W), bool; None counts all.
        label_smoothing: the share of the target that is spread over all classes.
    """
    losses = functional.cross_entropy(
        logits, target.long(), reduction="none", label_smoothing=label_smoothing
    ).flatten(1)
    if ignore is None:
        return losses.mean()
    counted = (~ignore).flatten(1)
    return ((losses * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)).mean()
