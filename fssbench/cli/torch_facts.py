"""Devices and threads of torch, without the second that its import takes where they are known otherwise.

A fact that cannot be known for certain otherwise is asked of torch itself.
"""

from __future__ import annotations

import ast
import ctypes
import importlib.util
import os
import sys
from pathlib import Path

_DRIVERS = ("libcuda.so.1", "libnvidia-ml.so.1")
"""Libraries that torch counts the GPUs of NVIDIA with; without both there is none."""
_GET_NUM_THREADS = "_ZN2at15get_num_threadsEv"
"""The symbol of `at::get_num_threads()`, which `torch.get_num_threads` calls."""


def list_devices() -> list[str]:
    """List the devices that torch can compute on, GPUs with their names."""
    if "torch" not in sys.modules and is_without_gpu():
        return ["cpu"]
    import torch

    gpus = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    return ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]


def count_threads() -> int:
    """Count the threads that torch computes with."""
    threads = None if "torch" in sys.modules else _ask_library_for_threads()
    if threads is not None:
        return threads
    import torch

    return torch.get_num_threads()


def is_without_gpu() -> bool:
    """Return whether torch certainly sees no GPU: it is built for the CPU alone, or there is no driver."""
    folder = find_torch()
    if sys.platform != "linux" or folder is None:
        return False
    built_for = _read_build(folder / "version.py")
    if built_for is None or built_for.get("hip", "unknown") is not None:
        return False
    return built_for.get("cuda", "unknown") is None or not any(map(can_be_loaded, _DRIVERS))


def find_torch() -> Path | None:
    """Find the folder of torch; None if it is not installed."""
    spec = importlib.util.find_spec("torch")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _read_build(file: Path) -> dict[str, object] | None:
    """Read the constants of torch's own file on its build, such as the version of CUDA; None if it has none."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    constants: dict[str, object] = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        if isinstance(value := getattr(node, "value", None), ast.Constant):
            constants |= {target.id: value.value for target in targets if isinstance(target, ast.Name)}
    return constants


def can_be_loaded(library: str) -> bool:
    """Return whether a library of the system is there and can be loaded."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _ask_library_for_threads() -> int | None:
    """Ask the library below torch's Python code, which reads the environment and the cores; None if that fails."""
    folder = find_torch()
    if sys.platform != "linux" or folder is None:
        return None
    try:
        function = getattr(ctypes.CDLL(os.fspath(folder / "lib" / "libtorch_cpu.so")), _GET_NUM_THREADS)
    except (OSError, AttributeError):
        return None
    function.argtypes, function.restype = (), ctypes.c_int
    return int(function())
