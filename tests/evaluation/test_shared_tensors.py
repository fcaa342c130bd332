"""Memory that a method shares with fssbench does no harm to fssbench or to other methods."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from fssbench.evaluation.shared_tensors import SharedTensors
from fssbench.plugins.child_process import can_fork

pytestmark = pytest.mark.skipif(not can_fork(), reason="methods have processes of their own on Linux")


def test_nobody_makes_the_memory_shorter() -> None:
    memory = SharedTensors()
    tensor = memory.allocate((3,), torch.float32).fill_(2.0)
    with pytest.raises(PermissionError):
        os.ftruncate(memory._file, 0)
    assert tensor.tolist() == [2.0, 2.0, 2.0]  # and no SIGBUS
    assert memory.read(memory.refer(tensor)).tolist() == [2.0, 2.0, 2.0]


def test_a_fork_inherits_no_tensor_of_the_memory() -> None:
    memory = SharedTensors()
    tensor = memory.allocate((3,), torch.float32).fill_(2.0)
    pages = Path("/proc/self/smaps").read_text().split("fssbench-tensors")[1].partition("VmFlags:")[2]
    assert "dc" in pages.partition("\n")[0].split()  # do not copy at a fork
    del tensor
