"""Feature maps in pages that nobody can change for others: whoever writes to one gets a page of its own.

A method of others may write to what it reads, also in ways that torch does not notice (`tensor.numpy()`).  So it gets
a copy of what is held, or reads these maps, from which the pages that were written to are dropped before the next one
reads them.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from functools import cache

import torch
from torch import Tensor

_LEAST = 1 << 20
"""Bytes of the smallest map for which this pays; the system limits the number of mappings of a process."""


class ApartMaps(dict[str, Tensor]):
    """Feature maps by tap, each the private mapping of a file in memory that nothing can open."""

    def renew(self) -> None:
        """Drop the pages that were written to, so that every map is again as it was.

        Raises:
            OSError: if the system refuses.
        """
        for features in self.values():
            place, length = ctypes.c_void_p(features.data_ptr()), ctypes.c_size_t(features.nbytes)
            if _load_library().madvise(place, length, mmap.MADV_DONTNEED):
                raise OSError(ctypes.get_errno(), "pages cannot be dropped")


@cache
def _load_library() -> ctypes.CDLL:
    """Load the library of the system, in which Python's own `madvise` has no equal for pages of torch."""
    return ctypes.CDLL(None, use_errno=True)


def put_apart(maps: dict[str, Tensor]) -> dict[str, Tensor]:
    """Move maps of the processor into such pages; return them as they are if that is not possible or does not pay."""
    pays = all(features.device.type == "cpu" and features.nbytes >= _LEAST for features in maps.values())
    if not pays or sys.platform != "linux":
        return maps
    try:
        apart = ApartMaps({tap: _move(features) for tap, features in maps.items()})
        apart.renew()
    except (OSError, RuntimeError):
        return maps
    return apart


def _move(features: Tensor) -> Tensor:
    handle = os.memfd_create("fssbench-features")
    try:
        with open(handle, "wb", closefd=False) as file:
            file.write(features.reshape(-1).view(torch.uint8).numpy().data)
        place = f"/proc/self/fd/{handle}"
        moved = torch.from_file(place, shared=False, size=features.numel(), dtype=features.dtype)
        return moved.view(features.shape)
    finally:
        os.close(handle)
