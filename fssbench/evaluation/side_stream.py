"""Work on a further stream of a CUDA device: it runs beside that of the others, and may be waited for alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class SideStream:
    """A further stream; on other devices, and where it is not wanted, nothing is different from an ordinary call.

    Args:
        device: where the work is done.
        wanted: whether there is a further stream.
    """

    def __init__(self, device: torch.device, *, wanted: bool = True) -> None:
        self._stream = torch.cuda.Stream(device) if wanted and device.type == "cuda" else None

    def catch_up(self) -> None:
        """Let this stream wait for the work that the present one was given, such as copies of weights."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))

    @contextmanager
    def working(self) -> Iterator[None]:
        """Context whose work is given to this stream."""
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            yield

    def hand_over(self, tensors: Iterable[Tensor]) -> None:
        """Let the present stream read tensors that this one makes."""
        if self._stream is None:
            return
        present = torch.cuda.current_stream(self._stream.device)
        present.wait_stream(self._stream)
        for tensor in {each.untyped_storage().data_ptr(): each for each in tensors}.values():
            # its memory is used again only after the present stream has read it
            tensor.record_stream(present)
