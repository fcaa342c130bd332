"""One process or many: under `torchrun` each works on its part of every batch.

Gradients are averaged by one all-reduce of a flat vector a step, after accumulation.  That is what
DistributedDataParallel amounts to, without its buckets: heads of few-shot methods are small, and the
order of the sum does not hang on timing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, distributed

from fssbench.errors import UsageError


@dataclass(frozen=True)
class Workers:
    """This process among all of a training."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def mean_gradients(self, parameters: Sequence[Tensor], loss: float) -> float:
        """Average gradients over processes, in place; a parameter without one counts as zero.

        Returns:
            The average of the losses.
        """
        if self.size == 1:
            return loss
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        grads = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([*(g.flatten() for g in grads), grads[0].new_tensor([loss])])
        distributed.all_reduce(flat)
        flat /= self.size
        for grad, part in zip(grads, flat[:-1].split([g.numel() for g in grads]), strict=True):
            grad.copy_(part.view_as(grad))
        return float(flat[-1])

    def mean_buffers(self, buffers: Iterable[Tensor]) -> None:
        """Average running statistics, in place: those that a process keeps of its own part of the batch."""
        for buffer in buffers if self.size > 1 else ():
            if buffer.is_floating_point():
                distributed.all_reduce(buffer)
                buffer /= self.size

    def total(self, counts: Tensor) -> Tensor:
        """Sum over processes, in place."""
        if self.size > 1:
            placed = counts.to(self.device)
            distributed.all_reduce(placed)
            counts = placed.cpu()
        return counts

    def wait(self) -> None:
        """Let all processes come to this point."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def workers(device: str) -> Iterator[Workers]:
    """Join the other processes that `torchrun` started, if it did.

    Args:
        device: torch device; `cuda` becomes this process's own GPU.

    Raises:
        UsageError: where the processes cannot reach each other.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Workers(device=torch.device(device))
        return
    rank, local = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    own = torch.device("cuda", local) if torch.device(device).type == "cuda" else torch.device(device)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    try:
        distributed.init_process_group("nccl" if own.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"process {rank} of {size} cannot join the others ({error}). Next: start them with `torchrun "
            f"--nproc-per-node {size} -m fssbench train ...`"
        ) from None
    try:
        yield Workers(rank, size, own)
    finally:
        distributed.destroy_process_group()
