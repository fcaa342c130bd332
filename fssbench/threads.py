"""How many threads torch computes with, and how they wait for each other.

A thread of OpenMP that has finished its part of an operator spins until the others have finished theirs.  If another
process holds a core, one of them is not running at all, and the rest spin for a whole time slice, at each
of the thousands of operators in an episode.  Threads that sleep at once must be woken for each operator, which takes
longer than most operators.  So they spin for some microseconds, and then sleep.

OpenMP reads the environment when torch loads it, so this module does not import torch.
"""

from __future__ import annotations

import os
import sys

WAIT_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables that set how long a thread spins: for every OpenMP, for that of GCC, for that of Intel and LLVM."""
_SPINS = 1000
"""Rounds for which a thread of GCC's OpenMP spins, together 10 to 50 microseconds."""
NUMBER_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that set the number of threads: for OpenMP, and for Intel's matrix products."""
PRODUCT_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that set the number of threads of one matrix product of numpy."""


def let_threads_sleep() -> None:
    """Make threads that wait sleep soon, in this process and its children, unless the user has chosen how they wait.

    Call it before torch is imported; in this process it has no effect afterwards.
    """
    if not any(name in os.environ for name in WAIT_VARIABLES):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # the OpenMP of Intel and LLVM follows it
        os.environ["GOMP_SPINCOUNT"] = str(_SPINS)


def use_one_thread_per_product() -> None:
    """Compute each matrix product of numpy in one thread, unless the user has chosen how many there are.

    Then several can be computed at once.  Call it before numpy is imported; it has no effect afterwards.
    """
    if "numpy" not in sys.modules:
        for name in PRODUCT_VARIABLES:
            os.environ.setdefault(name, "1")


def set_threads(number: int) -> None:
    """Compute with this many threads, in this process and its children.

    Args:
        number: at least 1.
    """
    os.environ.update(dict.fromkeys(NUMBER_VARIABLES, str(number)))
    if "torch" in sys.modules:  # else torch reads the environment when it is imported
        import torch

        torch.set_num_threads(number)


def count_processors() -> int:
    """Return how many processors this process may use; OMP_NUM_THREADS limits it."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
