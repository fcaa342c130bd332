"""Measures the peak memory of some work.

On CUDA it is the peak of the allocator.  On a CPU it is the peak resident set of the process minus its resident set
before the method was loaded; temporary memory of libraries is included.  The peak that the system reports never
falls by itself.  Linux lets a process reset it, so the peak excludes loading there.  On other systems the peak
includes loading, and its kind says so.  Each measurement needs a fresh process, because freed memory may stay with
the process.
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
    """Measures peak memory: construct it before the method is loaded, `start` it before the work, `read` it after.

    Args:
        device: where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._reset = False
        # the first convolution loads threads and kernels; they are not memory of the method
        functional.conv2d(torch.zeros(1, 3, 16, 16, device=device), torch.zeros(4, 3, 3, 3, device=device))
        gc.collect()
        self._base = (
            torch.cuda.memory_allocated(device) / 2**20 if device.type == "cuda" else _read_resident_mb()
        )

    def start(self) -> None:
        """Reset the peak, if the system allows it."""
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
        """Return the peak since `start` minus the memory at construction, in MiB, and how it was measured."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20 - self._base, "allocator"
        if self.device.type != "cpu":
            return None, "none"
        return max(
            0.0, _read_peak_mb() - self._base
        ), "resident" if self._reset else "resident, loading included"


def _read_resident_mb() -> float:
    """Read the resident set of this process, in MiB."""
    return float(psutil.Process().memory_info().rss) / 2**20


def _read_peak_mb() -> float:
    """Read the peak resident set of this process, in MiB."""
    if (peak := _read_linux_peak_mb()) is not None:
        return peak
    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # Windows
        return float(memory.peak_wset) / 2**20
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _read_linux_peak_mb() -> float | None:
    """Read the peak in MiB that a process can reset on Linux; psutil does not read it."""
    try:
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return int(peak[1]) / 1024 if peak else None
