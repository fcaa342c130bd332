"""Tensors in memory that a process shares with its children: what one writes, the other reads without a copy."""

from __future__ import annotations

import fcntl
import math
import mmap
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Reference = Sequence[Any]
"""Place of a tensor in the memory, for JSON: offset, shape, type."""


class SharedTensors:
    """A file in memory that grows; each tensor has pages of its own.

    A fork inherits the file, so make it before the fork.  It inherits no tensors: a child reads them by `read`.
    """

    def __init__(self) -> None:
        self._file = os.memfd_create("fssbench-tensors", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        # a child that made the file shorter would end this process with SIGBUS
        fcntl.fcntl(self._file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        self._size = 0
        self._offsets: dict[int, int] = {}
        """Offset by address."""
        self._maps: dict[int, mmap.mmap] = {}
        """Pages by offset, in the process that reads."""

    def allocate(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Make a tensor whose content is undefined."""
        length = _round_up(math.prod(shape) * dtype.itemsize)
        os.ftruncate(self._file, self._size + length)
        pages = mmap.mmap(self._file, length, offset=self._size)
        pages.madvise(mmap.MADV_DONTFORK)  # else the children of other methods could write here
        tensor = _view(pages, shape, dtype)
        self._offsets[tensor.data_ptr()] = self._size
        self._size += length
        return tensor

    def refer(self, tensor: Tensor) -> Reference:
        """Return the place of a tensor that `allocate` made, or of a view of its whole content."""
        return self._offsets[tensor.data_ptr()], list(tensor.shape), str(tensor.dtype).removeprefix("torch.")

    def read(self, reference: Reference) -> Tensor:
        """Return the tensor at a place, in the other process."""
        offset, shape, name = reference
        dtype: torch.dtype = getattr(torch, name)
        if offset not in self._maps:
            length = _round_up(math.prod(shape) * dtype.itemsize)
            self._maps[offset] = mmap.mmap(self._file, length, offset=offset)
        return _view(self._maps[offset], shape, dtype)

    def close(self) -> None:
        """Close the file; tensors that exist stay valid."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _round_up(length: int) -> int:
    page = mmap.ALLOCATIONGRANULARITY
    return max(1, -(-length // page)) * page


def _view(pages: mmap.mmap, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(pages, dtype=dtype, count=math.prod(shape)).view(*shape)
