"""Predictions of a method by replays of its work on a CUDA device.

There is one recording for each shape and place in memory of its inputs.  The first episode of each is predicted as on
any device, with all checks.  Its work is then recorded, and the recording is kept if a replay gives the same mask.  Of
later episodes only the values are checked, when the device has come to them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fssbench.contracts.method_card import Information
from fssbench.contracts.methods import Method
from fssbench.contracts.precision import Precision
from fssbench.contracts.prediction import decide_masks, predict_shots, require_logits
from fssbench.evaluation.isolation import isolated
from fssbench.evaluation.method_call import list_tensors
from fssbench.evaluation.precision import computing_in
from fssbench.evaluation.recording import Recording, Replayable, Stopwatch
from fssbench.evaluation.transfers import Download
from fssbench.plugins.calls import says_itself

Inputs = tuple[Any, Any, Tensor]
"""Query, supports and support masks, as a method reads them."""
Size = tuple[int, int]
"""Height and width of a mask."""
Work = tuple[Tensor, Tensor]
"""Mask (1, H, W), and a number for each logits that is not finite if one of them is not."""
Recorder = Callable[[Callable[[], Work]], Replayable[Work]]


@dataclass(frozen=True)
class Launched:
    """A prediction that the device computes now."""

    mask: Download
    sums: Download
    stopwatch: Stopwatch

    def take(self, after: Stopwatch | None) -> tuple[NDArray[np.bool_], float] | None:
        """Wait for the mask (H, W) and the time in seconds; None if the logits are perhaps not finite.

        Args:
            after: of the prediction that was taken before, with which this one may have shared the device.
        """
        if not torch.isfinite(self.sums.take()).all():
            return None
        mask: NDArray[np.bool_] = self.mask.take()[0].numpy()
        return mask, self.stopwatch.read_seconds(after)


class Replays:
    """Recorded predictions of a method.

    Args:
        method: a method whose `replayable` is true.
        record: records work.
        precision: of products and convolutions.
    """

    def __init__(
        self, method: Method, record: Recorder = Recording, precision: Precision = "float32"
    ) -> None:
        self._method = method
        self._record = record
        self._precision = precision
        self._recordings: dict[Hashable, _Recorded | None] = {}
        """By what describes the inputs; None if their recording failed."""
        self._gave_up = False

    def __len__(self) -> int:
        """Return the number of recordings that are used."""
        return sum(each is not None for each in self._recordings.values())

    def launch(self, inputs: Inputs, size: Size) -> Launched | None:
        """Begin to predict an episode; None if nothing is recorded for its shape."""
        recorded = self._recordings.get(_describe(inputs, size))
        if recorded is None:
            return None
        stopwatch = Stopwatch(inputs[2].device)
        mask, sums = recorded.work.replay()
        stopwatch.stop()
        return Launched(Download(mask), Download(sums), stopwatch)

    def learn(self, inputs: Inputs, size: Size, mask: NDArray[np.bool_]) -> None:
        """Record the prediction of an episode, if its place in memory or its shape is new.

        If that fails once, nothing more is recorded, because the cause is likely to recur.

        Args:
            inputs: where those of later episodes will be, too.
            size: of the mask.
            mask: what the method predicted without a recording.
        """
        key = _describe(inputs, size)
        if self._gave_up or key in self._recordings:
            return
        self._recordings[key] = None
        try:
            with isolated(0):
                work = self._record(lambda: self._segment(inputs, size))
        except Exception as error:
            if not self:  # else episodes are replayed in the places that were recorded before
                self._warn(f"cannot be recorded ({' '.join(str(error).split())[:200]})")
            self._gave_up = True
            return
        if np.array_equal(work.replay()[0][0].cpu().numpy(), mask):
            self._recordings[key] = _Recorded(inputs, work)
            return
        # then the masks of other recordings are not to be trusted either
        self._recordings.clear()
        self._gave_up = True
        self._warn("gives another mask when it is replayed")

    def _segment(self, inputs: Inputs, size: Size) -> Work:
        """Predict as `Method.segment` does, but look at no value."""
        sums = []

        def look(logits: Tensor, masks: Tensor, name: str) -> Tensor:
            require_logits(logits, masks, name)
            sums.append(logits.sum())
            return logits

        with computing_in(self._precision, inputs[2].device):
            read = *self._method.read(*inputs[:2]), inputs[2]
            outputs = predict_shots(self._method, *read, size=size, seed=0, check=look)
        return decide_masks(outputs), torch.stack(sums)

    def _warn(self, why: str) -> None:
        name = self._method.card.name
        warnings.warn(f"method {name!r}: its work on the device {why}; it runs call by call", stacklevel=3)


class _Recorded(NamedTuple):
    """Recorded work, and the memory that it reads, which must last as long."""

    inputs: Inputs
    work: Replayable[Work]


def make_replays(method: Method, device: torch.device, precision: Precision) -> Replays | None:
    """Make the replays of a method that may be replayed on a device that records work; None for others.

    What a method adapts to each episode, or reads beside tensors, would be that of the recorded episode.
    """
    own_way = bool(method.steps) or Information.CLASS_NAME in method.card.reads
    usual = says_itself(method, "replayable") and not own_way and device.type == "cuda"
    return Replays(method, precision=precision) if usual else None


def _describe(inputs: Inputs, size: Size) -> Hashable:
    """Describe the memory that a recording reads."""
    tensors = list_tensors(*inputs)
    return size, tuple((t.data_ptr(), t.shape, t.stride(), t.dtype) for t in tensors)
