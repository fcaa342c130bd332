"""What one episode of a method costs on one machine: the record behind `fssbench bench`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict

from fssbench.contracts.records import Record


class _Measured(Record):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Timing(_Measured):
    """Milliseconds of one episode over repeats, after warming up."""

    median: float
    low: float
    """First quartile."""
    high: float
    """Third quartile."""
    mad: float
    """Median absolute deviation from the median."""
    fastest: float
    slowest: float
    repeats: int
    warmup: int
    """Episodes before the first that counts."""
    unstable: tuple[str, ...] = ()
    """Reasons why these times are unreliable; empty if there is none."""


class Efficiency(_Measured):
    """One measurement: one method at one input size and shot on one machine.

    Only matrix products and convolutions are counted as FLOPs (`torch.utils.flop_counter`), two for
    each multiply-add, the steps of test-time adaptation included.
    """

    identity: str
    """sha256 over what was measured and where; a later measurement of the same replaces it."""
    method: str
    label: str
    """Method name with its ablations and settings, as runs have it."""
    config: dict[str, Any]
    backbone: str
    """`own` if the method has an encoder of its own."""
    weights: str
    checkpoint_sha256: str | None
    shot: int
    size: int
    """Side of the square input in pixels."""
    batch: int
    """Episodes in one forward; all figures are of one episode, memory of the whole forward."""
    learnable: int
    """Parameters outside the frozen backbone."""
    parameters: int
    flops_backbone: int
    """FLOPs of one episode spent in the frozen backbone, query and all supports."""
    flops_head: int
    """All other FLOPs of one episode."""
    milliseconds: Timing
    """From pixels to the mask."""
    head: Timing | None
    """From features that are there already to the mask: what an episode of a cached run takes; None for
    methods on pixels."""
    memory_mb: float | None
    """Peak memory in MiB of weights, inputs and all intermediate results; None if it cannot be measured."""
    memory_kind: Literal["allocator", "resident", "resident, loading included", "none"]
    """How the peak was read: the accelerator's allocator, or what the process held beyond an empty one."""
    machine: str
    """First digits of a hash over host, processor and device."""
    processor: str
    """The device's model, such as a CPU's name."""
    device: str
    threads: int
    dtype: str
    others: float | None
    """Average number of CPUs that other processes used meanwhile; None if it cannot be measured."""
    created_utc: str
    packages: dict[str, str | None]

    @property
    def flops(self) -> int:
        """All FLOPs of one episode."""
        return self.flops_backbone + self.flops_head

    @property
    def unstable(self) -> tuple[str, ...]:
        """Reasons why the times are unreliable."""
        alone = self.head.unstable if self.head else ()
        return (*self.milliseconds.unstable, *(f"head alone: {reason}" for reason in alone))
