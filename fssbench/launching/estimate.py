"""Estimates the cost of a launch from measurements of `fssbench bench`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from fssbench.contracts.efficiency import Efficiency
from fssbench.launching.record import Task

START = 15.0
"""Seconds that a task takes until its first episode: imports, weights and hashes of data.  Assumed, not measured."""


@dataclass(frozen=True)
class Estimate:
    """Computing time of a launch; it is a lower bound while methods are not measured."""

    episodes: int
    hours: float
    """Hours of computing on the measured devices, one task after another, with `START` seconds for each."""
    devices: tuple[str, ...]
    """Devices of the measurements."""
    unmeasured: tuple[tuple[str, int, int], ...]
    """Method, shot and input size of tasks without a measurement."""


def estimate_cost(tasks: Sequence[Task], measurements: Sequence[Efficiency]) -> Estimate:
    """Add up the measured time of all episodes, from pixels to the mask.

    Reading images is not in it, and what the feature cache saves neither: episodes that share images are faster.

    Args:
        tasks: what is to be run.
        measurements: what `fssbench bench` stored beside the runs; the newest of a method, shot and size counts.
    """
    known: dict[tuple[str, int, int], Efficiency] = {}
    for each in sorted(measurements, key=lambda m: m.created_utc):
        known[each.method, each.shot, each.size] = each
    seconds = START * len(tasks)
    unmeasured: defaultdict[tuple[str, int, int], int] = defaultdict(int)
    devices: dict[str, None] = {}
    for task in tasks:
        key = task.method, task.shot, task.size
        measured = known.get(key)
        if measured is None or (task.backbone is not None and measured.backbone != task.backbone):
            unmeasured[key] += task.episodes
            continue
        seconds += task.episodes * measured.milliseconds.median / 1000
        devices[f"{measured.device} ({measured.processor})"] = None
    return Estimate(sum(t.episodes for t in tasks), seconds / 3600, tuple(devices), tuple(unmeasured))
