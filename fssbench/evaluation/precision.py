"""Precision of an evaluation: float32 is computed as float32 on every device, and bfloat16 only if it was asked for.

By default PyTorch computes convolutions in TF32 (10 bits of mantissa) on a recent NVIDIA GPU.  One line in a plugin,
`torch.set_float32_matmul_precision("medium")`, does the same to matrix products, and on some processors uses bfloat16.
Both change counts, although the identity of the run says `float32`.

`--precision bf16` is autocast: matrix products and convolutions of the backbone and the method are computed in
bfloat16; what autocast leaves in float32 stays there.  Logits are resized and compared in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch

from fssbench.contracts.precision import Precision
from fssbench.errors import UsageError

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


@contextmanager
def computing_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Context in which products and convolutions are computed in a precision."""
    if precision == "float32":
        yield
        return
    # cached casts of weights would stay those of an earlier value
    with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
        yield


def require_precision(precision: Precision, device: str) -> None:
    """Refuse a precision that a device computes no faster than float32.

    Args:
        precision: `float32` or `bf16`.
        device: torch device.

    Raises:
        UsageError: if the device lacks instructions for it.
    """
    if precision == "float32":
        return
    kind = torch.device(device).type
    if kind == "cpu":
        why = "" if _cpu_computes_bfloat16() else "this processor has no instructions for bfloat16"
    elif kind == "cuda":
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
        why = "" if supported else f"{torch.cuda.get_device_name(device)} has no instructions for bfloat16"
    else:
        why = f"bfloat16 was not measured on devices of type {kind!r}"
    if why:
        raise UsageError(
            f"--precision bf16 is not possible on device {device!r}: {why}. Next: --precision float32, or another "
            "--device"
        )


def _cpu_computes_bfloat16() -> bool:
    """Return whether the processor has instructions for products in bfloat16 (AVX-512, AMX or Arm)."""
    read_capabilities = getattr(torch.cpu, "get_capabilities", None)  # older versions of torch lack it
    if read_capabilities is not None:
        return any(name.endswith("bf16") and has is True for name, has in read_capabilities().items())
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(word.endswith("bf16") for word in text.split())


@cache
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
