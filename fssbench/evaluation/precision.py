"""Precision of an evaluation: float32 is computed as float32 on every device.

By default PyTorch computes convolutions in TF32 (10 bits of mantissa) on a recent NVIDIA GPU.  One line in a plugin,
`torch.set_float32_matmul_precision("medium")`, does the same to matrix products, and on some processors uses bfloat16.
Both change counts, although the identity of the run says `float32`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

T = TypeVar("T")


@contextmanager
def exact_float32() -> Iterator[None]:
    """Context of full float32 and cuDNN's deterministic algorithms.  It restores the earlier settings at its end."""
    cudnn = torch.backends.cudnn
    deterministic, tuned = cudnn.deterministic, cudnn.benchmark
    # PyTorch has an old and a new setting of the precision.  Reading the old one fails if the two differ.
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
    """Return the objects of PyTorch that have a float32 precision setting, first the common default."""
    backends: Any = torch.backends  # its annotations lack attributes that are set at run time
    cuda, cudnn, mkldnn = backends.cuda, backends.cudnn, backends.mkldnn
    return (backends, cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn)


def _set_all(default: str, *, tf32: bool, products: str) -> None:
    backends: Any = torch.backends
    backends.fp32_precision = default
    backends.cudnn.allow_tf32 = tf32
    torch.set_float32_matmul_precision(products)


def _read(read: Callable[[], T], *, otherwise: T) -> T:
    """Read an old setting.  Return `otherwise`, PyTorch's default, if the new setting was used for a part of it."""
    try:
        return read()
    except RuntimeError:
        return otherwise
