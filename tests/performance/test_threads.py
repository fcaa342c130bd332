"""A machine that is not idle: a forward takes at most 2.5 times as long beside a busy process as without it.

    taskset -c 0,1 pytest tests/performance/test_threads.py -m slow -s

prints the seconds alone, and beside one and two busy processes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack

import pytest

WORK = """
import time
from fssbench.threads import let_threads_sleep, set_threads
let_threads_sleep()
set_threads({threads})
import torch
network = torch.nn.Sequential(*(torch.nn.Conv2d(32, 32, 3, padding=1) for _ in range(20)))
image = torch.randn(1, 32, 48, 48)
with torch.no_grad():
    network(image)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(20):
            network(image)
        times.append(time.perf_counter() - started)
print(sorted(times)[2])
"""
LIMIT = 2.5


def _time_forward(threads: int) -> float:
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_", "MKL_"))}
    command = [sys.executable, "-c", WORK.format(threads=threads)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=variables)
    return float(answer.stdout)


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _time_beside(busy: int, threads: int) -> float:
    """Time the forward beside so many processes that compute without end."""
    with ExitStack() as stack:
        for _ in range(busy):
            other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(other.wait)
            stack.callback(other.kill)
        return min(_time_forward(threads) for _ in range(2))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(_count_cores() < 2, reason="needs two cores")
def test_one_busy_process_does_not_stop_the_threads() -> None:
    threads = _count_cores()
    alone, beside_one, beside_two = (_time_beside(busy, threads) for busy in (0, 1, 2))
    print(f"alone {alone:.3f} s, beside one {beside_one:.3f} s, beside two {beside_two:.3f} s")
    assert beside_one <= LIMIT * alone
