"""Copies between the processor and a CUDA device that let this process go on.

They pass through page-locked memory, which torch keeps and reuses when the device is done with it.  On other devices a
copy is an ordinary one.
"""

from __future__ import annotations

import torch
from torch import Tensor


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the processor to a device, in its layout."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class Download:
    """A copy of a tensor to the processor, which is there when it is asked for.

    Args:
        tensor: on any device.  What is written to it after this call does not reach the copy.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._ended: torch.cuda.Event | None = None
        if tensor.device.type != "cuda":
            self._copy = tensor.to("cpu", copy=True)
            return
        self._copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._copy.copy_(tensor, non_blocking=True)
        self._ended = torch.cuda.Event()
        self._ended.record()

    def take(self) -> Tensor:
        """Wait until the copy is there and return it."""
        if self._ended is not None:
            self._ended.synchronize()
        return self._copy
