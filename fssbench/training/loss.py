"""The loss of a training: the method's own, and beside it, where asked, one minus a soft IoU.

Cross-entropy asks whether a pixel is more likely object than not.  IoU, which is what is measured, asks for
less where the answer is unsure, about half the IoU that can be had (Lipton et al., ECML 2014, for F1).  A
network taught by cross-entropy alone on few images is unsure of every class it has not met, and finds too
little of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from fssbench.contracts.methods import Method
from fssbench.errors import UsageError

if TYPE_CHECKING:
    from fssbench.training.batch import Batch


class Loss(nn.Module):
    """A method's training loss as the forward of a module.

    Args:
        method: what is trained.
        iou: weight of one minus the soft IoU; 0 leaves the method's loss as it is.

    Raises:
        UsageError: for a weight beside a loss that is the method's own: it does not say its logits.
    """

    def __init__(self, method: Method, iou: float = 0.0) -> None:
        super().__init__()
        if iou and type(method).loss is not Method.loss:
            raise UsageError(
                f"method {method.card.name!r} has a loss of its own; --iou-loss goes with the default loss. "
                "Next: leave it out"
            )
        self.method = method
        self.iou = iou

    def forward(self, batch: Batch) -> Tensor:
        """Loss of a batch, a scalar."""
        inputs = (batch.query, batch.support, batch.support_mask)
        if not self.iou:
            return self.method.loss(*inputs, batch.target, batch.ignore)
        size = (int(batch.target.shape[-2]), int(batch.target.shape[-1]))
        logits = self.method.predict(*inputs, size=size).float()
        lost = 1 - soft_iou(logits, batch.target, batch.ignore).mean()
        return self.method.criterion(logits, batch.target, batch.ignore) + self.iou * lost


def soft_iou(logits: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
    """IoU of the object with probabilities in place of a mask (Rahman and Wang, ISVC 2016).

    Args:
        logits: (B, 2, H, W).
        target: the queries' masks (B, H, W), bool.
        ignore: pixels that count for nothing (B, H, W), bool.

    Returns:
        One value in 0..1 for each episode, (B,); a pixel is added above and below, so that an object without
        pixels has an IoU too.
    """
    counted = (~ignore).flatten(1)
    found = logits.softmax(dim=1)[:, 1].flatten(1) * counted
    truth = target.flatten(1) * counted
    inter = (found * truth).sum(dim=1)
    union = (found + truth).sum(dim=1) - inter
    return (inter + 1) / (union + 1)
