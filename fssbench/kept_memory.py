"""Memory that is freed stays with the process for a while, because to get it again costs more than to compute with it.

The C library of Linux gives a large block, and the free end of its heap, back to the system as soon as it is freed.
The next map of that size is then faulted in page by page, and each page is filled with zeros first.  On a CPU this
takes a fifth of the time of a head, and a tenth of the time of a comparison of hundreds of runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of the two settings in `malloc.h`."""
_KEPT_AT_END = 1 << 30
"""Bytes at the end of the heap that stay with the process within the context."""
_USUAL_AT_END = 1 << 26
"""Bytes at its end that stay otherwise: what the library comes to in time."""
_LARGEST_IN_HEAP = 1 << 25
"""Bytes of the largest block that comes from the heap; the largest that the library itself would come to in time."""
_CHOSEN = ("GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")
"""Variables by which a user has chosen these settings."""


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed memory for the blocks that follow; give it back to the system at the end.

    Without effect if the C library is another one than that of Linux, or if the user has chosen its settings.
    """
    set_option = None if any(name in os.environ for name in _CHOSEN) else _find_function("mallopt")
    if set_option is None:
        yield
        return
    set_option(_MMAP_THRESHOLD, _LARGEST_IN_HEAP)
    set_option(_TRIM_THRESHOLD, _KEPT_AT_END)
    try:
        yield
    finally:
        set_option(_TRIM_THRESHOLD, _USUAL_AT_END)
        if trim := _find_function("malloc_trim"):
            trim(0)


def _find_function(name: str) -> Callable[..., int] | None:
    """Find a function of the C library by its name; None if it has no such function."""
    import ctypes  # `fssbench --help` does without it

    try:
        function: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):  # Windows has no library of this process
        return None
    return function
