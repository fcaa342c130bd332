"""The training loss: the loss of the method, and on request one minus a soft IoU.

Cross-entropy puts the threshold at a probability of one half.  The threshold that is best for IoU is lower if
the network is unsure, at about half the IoU that can be reached (Lipton et al., ECML 2014, for F1).  A network
that was trained with cross-entropy on few images is unsure of every new class and segments too little of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from fssbench.contracts.methods import Method, supervision_of
from fssbench.contracts.prediction import tell_class_names
from fssbench.errors import UsageError

if TYPE_CHECKING:
    from fssbench.training.batch import Batch


class Loss(nn.Module):
    """The training loss of a method as the forward pass of a module.

    Args:
        method: the method that is trained.
        iou: weight of one minus the soft IoU; with 0 the loss is that of the method.

    Raises:
        UsageError: if the method overrides `loss`, because its logits are then unknown here, and `iou` is not 0.
    """

    def __init__(self, method: Method, iou: float = 0.0) -> None:
        super().__init__()
        if iou and type(method).loss is not Method.loss:
            raise UsageError(
                f"--iou-loss extends the default loss, but method {method.card.name!r} defines its own loss. "
                "Next: omit --iou-loss"
            )
        self.method = method
        self.iou = iou

    def forward(self, batch: Batch) -> Tensor:
        """Compute the loss of a batch, a scalar."""
        inputs = (batch.query, batch.support, batch.support_mask)
        names = tell_class_names(self.method, batch.class_names)
        if not self.iou and (not names or type(self.method).loss is not Method.loss):
            told: dict[str, Any] = dict(names)
            supervision = supervision_of(self.method)
            if supervision in ("numbered", "labelled"):
                told["numbers"] = batch.numbers
            if supervision == "labelled":
                told["labels"] = batch.labels
            return self.method.loss(*inputs, batch.target, batch.ignore, **told)
        size = (int(batch.target.shape[-2]), int(batch.target.shape[-1]))
        logits = self.method.predict(*inputs, size=size, class_names=names.get("class_names")).float()
        if not self.iou:  # the default loss, which is not told the names
            return self.method.criterion(logits, batch.target, batch.ignore)
        iou_loss = 1 - soft_iou(logits, batch.target, batch.ignore).mean()
        return self.method.criterion(logits, batch.target, batch.ignore) + self.iou * iou_loss


def soft_iou(logits: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
    """Compute the IoU of the object with probabilities instead of a mask (Rahman and Wang, ISVC 2016).

    Args:
        logits: (B, 2, H, W).
        target: the queries' masks (B, H, W), bool.
        ignore: pixels that are not counted (B, H, W), bool.

    Returns:
        One value from 0 to 1 per episode, (B,).  One pixel is added to intersection and union, so that an object
        without pixels has an IoU too.
    """
    counted = (~ignore).flatten(1)
    probability = logits.softmax(dim=1)[:, 1].flatten(1) * counted
    truth = target.flatten(1) * counted
    inter = (probability * truth).sum(dim=1)
    union = (probability + truth).sum(dim=1) - inter
    return (inter + 1) / (union + 1)
