"""Batch norm with the statistics of all processes: many small batches train like one large batch.

SyncBatchNorm of torch works on accelerators only and replaces modules.  Here the function that every batch norm
calls is overridden during a forward pass, on any device.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fssbench.training.processes import Workers

_ARGUMENTS = inspect.signature(functional.batch_norm)


def share_norms(world: Workers) -> AbstractContextManager[Any]:
    """Return a context in which batch norm uses the statistics of all processes; a no-op with one process."""
    return _SharedBatchNorm() if world.size > 1 else nullcontext()


class _SharedBatchNorm(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.batch_norm:
            given = _ARGUMENTS.bind(*args, **(kwargs or {}))
            given.apply_defaults()
            if given.arguments["training"]:
                return _batch_norm(**given.arguments)
        return func(*args, **(kwargs or {}))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """Compute `functional.batch_norm` in training mode with the statistics of all processes; input (N, C, ...)."""
    values = input.float()
    axes = [axis for axis in range(values.ndim) if axis != 1]
    shape = [1, -1, *[1] * (values.ndim - 2)]
    own = values.new_tensor([values.numel() / values.shape[1]])
    count, total = _sum_over_processes(torch.cat([own, values.sum(dim=axes)])).split([1, values.shape[1]])
    mean = total / count
    centred = values - mean.view(shape)
    variance = _sum_over_processes(centred.square().sum(dim=axes)) / count
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean, momentum)
        if running_var is not None:
            running_var.lerp_(variance * count / (count - 1), momentum)
    scaled = centred * (variance + eps).rsqrt().view(shape)
    if weight is not None:
        scaled = scaled * weight.view(shape)
    if bias is not None:
        scaled = scaled + bias.view(shape)
    return scaled.to(input.dtype)


def _sum_over_processes(part: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(part)  # type: ignore[no-untyped-call, unused-ignore]
    return total


class _Sum(torch.autograd.Function):
    """Sum over processes.  The loss of each process depends on it, so its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        distributed.all_reduce(total)
        return total
