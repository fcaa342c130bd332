"""How three published evaluators count, written again from their description: the meters of HSNet, PFENet and PANet.

Each takes one episode at a time, as its authors' loop does, with numbers in the type that they use.
`DIFFERENCES` names where a meter gives another figure than fssbench; `docs/reliability.md` holds the same table.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IGNORED = 255
DIFFERENCES = {
    "hsnet": "counters are float32, so counts above 2**24 lose pixels",
    "pfenet": "1e-10 is added to each union",
    "panet": "pixels that are predicted as a label count only in episodes whose truth has that label",
}
"""What is known to differ, by meter."""
Mask = NDArray[np.uint8]
"""(H, W) labels: 0, 1, or 255 for pixels that are not counted."""


class HSNetMeter:
    """Sums areas per class over all episodes; a union is at least one pixel.

    Args:
        classes: class ids of the fold.
        dtype: of the counters; float32 in the original.
    """

    def __init__(self, classes: list[int], dtype: type = np.float32) -> None:
        self.classes = classes
        self.inter = np.zeros((2, max(classes) + 1), dtype)
        self.union = np.zeros_like(self.inter)

    def add(self, class_id: int, prediction: Mask, truth: Mask) -> None:
        prediction = np.where(truth == IGNORED, IGNORED, prediction)
        for label in (0, 1):
            inter = ((prediction == truth) & (prediction == label)).sum()
            areas = (prediction == label).sum() + (truth == label).sum()
            self.inter[label, class_id] += inter
            self.union[label, class_id] += areas - inter

    def scores(self) -> tuple[float, float]:
        """Return mIoU and FB-IoU in percent."""
        inter, union = self.inter[:, self.classes], self.union[:, self.classes]
        miou = (inter[1] / np.maximum(union[1], 1)).mean()
        fb_iou = (inter.sum(1) / union.sum(1)).mean()
        return float(miou * 100), float(fb_iou * 100)


class PFENetMeter:
    """Keeps one meter per class for the foreground, and one for both labels; adds 1e-10 to each union."""

    def __init__(self, classes: list[int]) -> None:
        self.per_class = {c: np.zeros(2) for c in classes}
        self.inter, self.union = np.zeros(2), np.zeros(2)

    def add(self, class_id: int, prediction: Mask, truth: Mask) -> None:
        output = prediction.copy()
        output[truth == IGNORED] = IGNORED
        same = output[output == truth]
        inter = np.array([(same == label).sum() for label in (0, 1)], dtype=float)
        union = np.array([(output == label).sum() + (truth == label).sum() for label in (0, 1)]) - inter
        self.inter += inter
        self.union += union
        self.per_class[class_id] += inter[1], union[1]

    def scores(self) -> tuple[float, float]:
        """Return mIoU and FB-IoU in percent."""
        ious = [inter / (union + 1e-10) for inter, union in self.per_class.values()]
        return 100 * sum(ious) / len(ious), float(100 * (self.inter / (self.union + 1e-10)).mean())


class PANetMeter:
    """Keeps lists of true positives, false positives and false negatives per episode and label.

    A label counts in an episode only if the truth has it.
    """

    def __init__(self, classes: list[int]) -> None:
        self.classes = classes
        self.rows: list[NDArray[np.int64]] = []

    def add(self, class_id: int, prediction: Mask, truth: Mask) -> None:
        row = np.zeros((3, max(self.classes) + 2), dtype=np.int64)
        for label, place in ((0, 0), (1, class_id + 1)):
            answered = {*zip(*np.nonzero((prediction == label) & (truth != IGNORED)), strict=True)}
            true = {*zip(*np.nonzero(truth == label), strict=True)}
            if true:
                row[:, place] = len(answered & true), len(answered - true), len(true - answered)
        self.rows.append(row)

    def scores(self) -> tuple[float, float]:
        """Return mIoU and FB-IoU in percent."""
        total = sum(self.rows)
        assert isinstance(total, np.ndarray)
        foreground = total[:, [c + 1 for c in self.classes]]
        miou = (foreground[0] / np.maximum(foreground.sum(0), 1)).mean()
        both = np.stack([total[:, 0], foreground.sum(1)], axis=1)
        return float(miou * 100), float((both[0] / np.maximum(both.sum(0), 1)).mean() * 100)
