"""Training in one process or in several: under `torchrun` each process computes a part of every batch.

DistributedDataParallel averages the gradients.  It wraps the loss of the method, because it calls `forward`, which a
method does not have.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from fssbench.errors import UsageError
from fssbench.evaluation.shards import check_process, read_number
from fssbench.termination import signals_end_at_once
from fssbench.training.loss import Loss

if TYPE_CHECKING:
    from fssbench.training.batch import Batch

_ALONE = {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}
"""What the variables of `torchrun` would be for a training in one process."""


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

    def wrap_loss(self, loss: Loss) -> Callable[[Batch], Tensor]:
        """Wrap the loss so that its gradients are averaged over processes.

        All processes start from the weights of the first.  Weights that a batch does not use have no gradient.
        """
        if self.size == 1:
            return loss
        # running statistics already cover the whole batch, see `shared_batch_norm`
        return DistributedDataParallel(loss, broadcast_buffers=False, find_unused_parameters=True)

    def mean(self, value: float) -> float:
        """Average over processes."""
        return float(self.total(torch.tensor(value, dtype=torch.float64))) / self.size

    def mean_buffers(self, buffers: Iterable[Tensor]) -> None:
        """Average in place the running statistics that each process keeps of its part of the batch."""
        for buffer in buffers if self.size > 1 else ():
            if buffer.is_floating_point():
                distributed.all_reduce(buffer)
                buffer /= self.size

    def total(self, counts: Tensor) -> Tensor:
        """Sum over processes, in place."""
        if self.size > 1:
            moved_counts = counts.to(self.device)
            distributed.all_reduce(moved_counts)
            counts = moved_counts.cpu()
        return counts

    def wait(self) -> None:
        """Wait until all processes have reached this point."""
        if self.size > 1:
            distributed.barrier()


def skip_averaging(loss: Callable[[Batch], Tensor]) -> AbstractContextManager[None]:
    """Return a context in which gradients are not averaged, for all forward passes of a step except the last."""
    return loss.no_sync() if isinstance(loss, DistributedDataParallel) else nullcontext()


@contextmanager
def join_workers(device: str) -> Iterator[Workers]:
    """Join the other processes that `torchrun` started, if it did.

    Args:
        device: torch device; `cuda` becomes this process's own GPU.

    Raises:
        UsageError: if the variables of `torchrun` name no process, or if the processes cannot reach each other.
    """
    size = _read_number("WORLD_SIZE")
    if size == 1:
        yield Workers(device=torch.device(device))
        return
    rank, local = _read_number("RANK"), _read_number("LOCAL_RANK")
    # the others would wait for this process, and it for them
    remedy = "Next: start the processes with `torchrun`, or unset the variables"
    check_process(rank, size, "RANK, WORLD_SIZE", remedy=remedy)
    own = torch.device("cuda", local) if torch.device(device).type == "cuda" else torch.device(device)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    try:
        with signals_end_at_once():  # a peer may never come
            _connect("nccl" if own.type == "cuda" else "gloo", rank, size)
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"process {rank} of {size} cannot connect to the others ({error}). Next: start them with `torchrun "
            f"--nproc-per-node {size} -m fssbench train ...`"
        ) from None
    try:
        yield Workers(rank, size, own)
    finally:
        distributed.destroy_process_group()


def _read_number(name: str) -> int:
    return read_number(
        name,
        {**_ALONE, **os.environ},
        unknown="the processes of this training are unknown",
        remedy="Next: start them with `torchrun`, or unset the variable",
    )


def _connect(backend: str, rank: int, size: int) -> None:
    """Connect to the other processes.

    After a restart on one machine, torchrun gives the processes the store of the start before, and torch 2.13 reads the
    addresses of dead processes in it if it is faster than the new ones are.  So the keys of each start have a prefix.
    Machines count their restarts apart, so the number is no common prefix of several.
    """
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT")
    if restarts is None or os.environ.get("LOCAL_WORLD_SIZE") != os.environ["WORLD_SIZE"]:
        distributed.init_process_group(backend)
        return
    store, _, _ = next(distributed.rendezvous("env://", rank, size))  # type: ignore[attr-defined]
    named = distributed.PrefixStore(f"start {restarts}", store)  # type: ignore[attr-defined]
    distributed.init_process_group(backend, store=named, rank=rank, world_size=size)
