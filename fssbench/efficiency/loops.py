"""Compares an evaluation of the harness with a plain one, and with the floor that the arithmetic sets.

The floor is the time in which this machine, at the speed of its matrix products, does the multiplications that
no evaluation can do without: the backbone once for each image, and the head once for each episode.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from fssbench.contracts.datasets import Dataset
from fssbench.contracts.encoding import encodes_once
from fssbench.contracts.episodes import Episode, Plan
from fssbench.contracts.methods import Method
from fssbench.data.location import open_dataset
from fssbench.efficiency.measure import count_flops
from fssbench.efficiency.memory import PeakMemory
from fssbench.efficiency.plain import Counts, evaluate_plainly
from fssbench.efficiency.timing import Load
from fssbench.episodes.synthetic import Synthetic
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.isolation import generators_kept, isolated
from fssbench.evaluation.precision import exact_float32
from fssbench.evaluation.settings import Settings
from fssbench.runs.identity import make_label
from fssbench.runs.records import EpisodeRecord
from fssbench.runs.store import read_run

PLAIN_EPISODES = 20
"""Number of episodes of the plain loop.  Images recur nowhere in it, so the others take as long."""
PRODUCT_SIDES = {"cpu": 1536, "cuda": 8192}
"""Side of the matrices whose product is timed."""
_PRODUCTS = 7


@dataclass(frozen=True)
class LoopComparison:
    """One method on one plan: seconds per episode of both evaluations and of the floor."""

    method: str
    shot: int
    size: int
    episodes: int
    images: int
    """Distinct images of these episodes."""
    plain_seconds: float
    harness_seconds: float
    plain_cpu_seconds: float
    """CPU seconds per episode of all threads; beside other processes these are steadier than the time that passes."""
    harness_cpu_seconds: float
    floor_seconds: float
    plain_memory_mb: float | None
    """Peak memory beyond that of the loaded method, MiB; None if the device has no such figure."""
    harness_memory_mb: float | None
    different_pixels: int
    """Pixels that the two count differently, in the episodes that both evaluated."""
    pixels: int
    """Pixels of these episodes."""
    peak: float
    """Floating-point operations per second of a matrix product."""
    others: float | None
    """Mean number of CPUs that other processes kept busy."""

    @property
    def ratio(self) -> float:
        """How many times as fast as the plain evaluation the harness is."""
        return self.plain_seconds / self.harness_seconds

    @property
    def cpu_ratio(self) -> float:
        """How many times as many CPU seconds the plain evaluation takes."""
        return self.plain_cpu_seconds / self.harness_cpu_seconds

    @property
    def times_floor(self) -> float:
        """How many times as long as the floor the harness takes."""
        return self.harness_seconds / self.floor_seconds


@dataclass(frozen=True)
class _Times:
    """Seconds that passed, and CPU seconds of this process."""

    passed: float
    computed: float

    @classmethod
    def read(cls) -> _Times:
        return cls(time.perf_counter(), time.process_time())

    def since(self, episodes: int) -> _Times:
        """Return the times per episode since these were read."""
        now = _Times.read()
        return _Times((now.passed - self.passed) / episodes, (now.computed - self.computed) / episodes)


def compare_loops(
    method: Method,
    plan: Plan,
    settings: Settings,
    *,
    plain_episodes: int = PLAIN_EPISODES,
    around_plain: AbstractContextManager[object] | None = None,
) -> LoopComparison:
    """Evaluate a plan with the harness and a part of it plainly.

    Args:
        method: on its device.
        plan: its episodes.
        settings: device and feature cache of the harness; it writes to a temporary folder.
        plain_episodes: number of episodes of the plain loop, taken evenly from the plan.
        around_plain: context of the plain loop, for example one that replaces operators by slower ones.

    Raises:
        DataError: for missing or damaged data.
        PluginError: if the method fails.
    """
    device = torch.device(settings.device)
    dataset = open_dataset(plan.dataset, data=plan.data, splits=plan.splits, variant=plan.dataset_variant)
    step = max(1, len(plan) // plain_episodes)
    few = plan.episodes[::step][:plain_episodes]
    load, memory = Load(), PeakMemory(device)
    with generators_kept(), exact_float32(), around_plain or nullcontext():
        list(evaluate_plainly(method, dataset, few[:1], plan.size, device))  # warm up
        memory.start()
        plain, plain_times = _time_plainly(method, dataset, few, plan.size, device)
    plain_memory = memory.read()[0]
    memory.start()
    records, harness_times = _time_harness(method, plan, settings)
    harness_memory = memory.read()[0]
    different = sum(_count_different(records[e.index], counts) for e, counts in zip(few, plain, strict=True))
    images = len({item for episode in plan for item in (episode.query, *episode.supports)})
    peak = measure_peak(device)
    return LoopComparison(
        method=make_label(method),
        shot=plan.shot,
        size=plan.size,
        episodes=len(plan),
        images=images,
        plain_seconds=plain_times.passed,
        harness_seconds=harness_times.passed,
        plain_cpu_seconds=plain_times.computed,
        harness_cpu_seconds=harness_times.computed,
        plain_memory_mb=plain_memory,
        harness_memory_mb=harness_memory,
        floor_seconds=_count_flops(method, plan, images, device) / len(plan) / peak,
        different_pixels=different,
        pixels=len(few) * plan.size**2,
        peak=peak,
        others=load.others,
    )


def measure_peak(device: torch.device) -> float:
    """Measure the floating-point operations per second of a matrix product in exact float32."""
    side = PRODUCT_SIDES.get(device.type, PRODUCT_SIDES["cpu"])
    one = torch.ones(side, side, device=device)
    seconds = []
    with exact_float32():
        for _ in range(_PRODUCTS):
            started = time.perf_counter()
            torch.mm(one, one)
            _finish(device)
            seconds.append(time.perf_counter() - started)
    return float(2 * side**3 / min(seconds))


def _time_plainly(
    method: Method, dataset: Dataset, episodes: Sequence[Episode], size: int, device: torch.device
) -> tuple[list[Counts], _Times]:
    """Return the counts of the plain evaluation, and its seconds per episode."""
    started = _Times.read()
    counts = list(evaluate_plainly(method, dataset, episodes, size, device))
    return counts, started.since(len(episodes))


def _time_harness(
    method: Method, plan: Plan, settings: Settings
) -> tuple[Mapping[int, EpisodeRecord], _Times]:
    """Return the records of a run in a temporary folder, and its seconds per episode."""
    with TemporaryDirectory() as folder:
        out = replace(settings, out=Path(folder), panels=0, shard=None, repeated=0)
        started = _Times.read()
        done, failed = evaluate_all([method], plan, out)
        times = started.since(len(plan))
        if failed:
            raise failed[0][1]
        return read_run(done[0].path).records, times


def _count_different(record: EpisodeRecord, counts: Counts) -> int:
    """Count the pixels of an episode that two evaluations count differently, at least."""
    ours, theirs = (*record.inter, *record.union), (*counts[0], *counts[1])
    return max(abs(one - other) for one, other in zip(ours, theirs, strict=True))


def _count_flops(method: Method, plan: Plan, images: int, device: torch.device) -> float:
    """Count the operations of a plan: what is computed of an image alone once per image, the rest once per episode."""
    drawn = Synthetic.make(1, plan.shot, plan.size, plan.size)
    query, support, mask = drawn.query.to(device), drawn.support.to(device), drawn.mask.to(device)
    options: dict[str, Any] = {"seed": 0} if method.steps else {}

    def prepare() -> object:
        maps = method.read(query, support)
        return method.encode_all(*maps, plan.shot) if encodes_once(method) else maps

    with isolated(0), torch.no_grad():
        of_images = count_flops(method, prepare)[1]
    with isolated(0):
        total = count_flops(method, lambda: method.segment(query, support, mask, **options))[1]
    return images * of_images / (plan.shot + 1) + len(plan) * (total - of_images)


def _finish(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
