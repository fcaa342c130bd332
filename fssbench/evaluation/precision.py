"""The arithmetic of an evaluation: float32 means float32, on every device.

PyTorch computes the convolutions of a recent NVIDIA GPU in TF32 (10 bits of mantissa) unless it is told
otherwise, and one line in any plugin, `torch.set_float32_matmul_precision("medium")`, does the same to matrix
products, on some processors in bfloat16.  Both move counts, and a run's identity says `float32`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

T = TypeVar("T")


@contextmanager
def exact_float32() -> Iterator[None]:
    """Compute in full float32 with cuDNN's deterministic algorithms; the settings before are restored."""
    cudnn = torch.backends.cudnn
    deterministic, tuned = cudnn.deterministic, cudnn.benchmark
    # PyTorch has an old and a new setting of the precision; reading the old one fails if the two differ
    tf32 = _read(lambda: cudnn.allow_tf32, otherwise=True)
    products = _read(torch.get_float32_matmul_precision, otherwise="highest")
    operators = _operators()
    before = [operator.fp32_precision for operator in operators]
    try:
        _set_all("ieee", tf32=False, products="highest")
        cudnn.deterministic, cudnn.benchmark = True, False
        yield
    finally:
        _set_all(before[0], tf32=tf32, products=products)
        for operator, precision in zip(operators[1:], before[1:], strict=True):
            operator.fp32_precision = precision
        cudnn.deterministic, cudnn.benchmark = deterministic, tuned


def _operators() -> tuple[Any, ...]:
    """List everything in PyTorch with a float32 precision setting, the common default first."""
    backends: Any = torch.backends  # its annotations lack attributes that are set at run time
    cuda, cudnn, mkldnn = backends.cuda, backends.cudnn, backends.mkldnn
    return (backends, cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn)


def _set_all(default: str, *, tf32: bool, products: str) -> None:
    backends: Any = torch.backends
    backends.fp32_precision = default
    backends.cudnn.allow_tf32 = tf32
    torch.set_float32_matmul_precision(products)


def _read(read: Callable[[], T], *, otherwise: T) -> T:
    """Read an old setting; return PyTorch's default if the new setting was used for a part of it."""
    try:
        return read()
    except RuntimeError:
        return otherwise
