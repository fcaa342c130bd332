"""Peak memory of a piece of work.

On CUDA it is what the allocator handed out at most.  On a CPU it is what the process held at most
(its resident set, so scratch space of libraries counts too) beyond what it held before the method was
loaded.  That high-water mark never falls by itself: Linux lets a process reset its own, which leaves
loading out; elsewhere the peak includes it, and says so.  Either way a fresh process is needed for
each measurement, since memory that was freed may stay with the process.
"""

from __future__ import annotations

import gc
import re
import sys
from pathlib import Path
from typing import Literal

import psutil
import torch
from torch.nn import functional

Kind = Literal["allocator", "resident", "resident, loading included", "none"]


class PeakMemory:
    """Begin before anything of the method is in memory, `start` before the work, `read` after it.

    Args:
        device: where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._reset = False
        # threads and the kernels' library come with the first convolution, whoever asks for it
        functional.conv2d(torch.zeros(1, 3, 16, 16, device=device), torch.zeros(4, 3, 3, 3, device=device))
        gc.collect()
        self._base = torch.cuda.memory_allocated(device) / 2**20 if device.type == "cuda" else _now()

    def start(self) -> None:
        """Forget the peak of what came before, where that can be done."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")
            self._reset = True
        except OSError:
            self._reset = False

    def read(self) -> tuple[float | None, Kind]:
        """Peak in MiB since `start`, beyond what was held at first, and how it was read."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20 - self._base, "allocator"
        if self.device.type != "cpu":
            return None, "none"
        return max(0.0, _peak() - self._base), "resident" if self._reset else "resident, loading included"


def _now() -> float:
    """MiB this process holds."""
    return float(psutil.Process().memory_info().rss) / 2**20


def _peak() -> float:
    """Most MiB this process held."""
    if (mark := _linux_mark()) is not None:
        return mark
    held = psutil.Process().memory_info()
    if hasattr(held, "peak_wset"):  # Windows
        return float(held.peak_wset) / 2**20
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _linux_mark() -> float | None:
    """The high-water mark in MiB that Linux lets a process reset, which psutil does not read."""
    try:
        mark = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return int(mark[1]) / 1024 if mark else None
