"""Which part of every plan a process computes, when a launcher started several processes with the same command.

The processes do not speak to each other: each computes its part and stores it in its own run folder, so one that
dies costs its part alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fssbench.errors import UsageError

_BY_HAND = "Next: give the part itself, --shard I/N"


@dataclass(frozen=True)
class Shard:
    """The part of a process."""

    part: int
    """From 1 to `parts`."""
    parts: int
    local: int | None = None
    """Number of the process among those on this machine; None if the launcher does not count them."""


def read_shard(launcher: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """Read the part of this process from the variables that its launcher has set.

    Args:
        launcher: a name of `LAUNCHERS`, or `auto` for the one that started several processes.
        environment: the variables of the process.

    Raises:
        UsageError: if the variables are absent or contradict each other, or if two launchers started several
            processes, one below the other, and `launcher` does not say which of them counts.
    """
    if launcher != "auto":
        shard = LAUNCHERS[launcher](environment)
        if shard is None:
            raise UsageError(
                f"--shard {launcher}: the variables of this launcher are not set ({_VARIABLES[launcher]}). {_BY_HAND}"
            )
        return shard
    shards = {name: shard for name, read in LAUNCHERS.items() if (shard := read(environment)) is not None}
    if not shards:
        known = "; ".join(f"{name}: {variables}" for name, variables in _VARIABLES.items())
        raise UsageError(f"--shard auto: no launcher has set its variables ({known}). {_BY_HAND}")
    several = [name for name, shard in shards.items() if shard.parts > 1]
    if len(several) > 1:
        counts = " and ".join(f"{name} ({shards[name].parts} processes)" for name in several)
        raise UsageError(
            f"--shard auto: {counts} each started several processes. Next: --shard {several[0]} or "
            f"--shard {several[1]}, whichever divides the episodes"
        )
    return shards[several[0]] if several else next(iter(shards.values()))


def is_started_by_torchrun(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether torchrun started this process and others with the same command."""
    return "TORCHELASTIC_RUN_ID" in environment and environment.get("WORLD_SIZE", "1") != "1"


def choose_local_device(device: str, shard: Shard, count: int) -> str:
    """Choose the GPU of a process; the processes on one machine take turns.

    Args:
        device: device that was asked for; one with a number, or one that is not `cuda`, stays.
        shard: the part of the process.
        count: number of GPUs that the process sees.
    """
    if device != "cuda" or shard.local is None or count < 2:
        return device
    return f"cuda:{shard.local % count}"


def _read_torchrun(environment: Mapping[str, str]) -> Shard | None:
    if not {"RANK", "WORLD_SIZE"} <= environment.keys():
        return None
    rank, size = (_read_number(name, environment) for name in ("RANK", "WORLD_SIZE"))
    local = _read_number("LOCAL_RANK", environment) if "LOCAL_RANK" in environment else None
    return _make_shard(rank, size, local, "RANK, WORLD_SIZE")


def _read_slurm_step(environment: Mapping[str, str]) -> Shard | None:
    """Read the task of a step, which `srun` starts.  A batch script is no task, though it has a SLURM_PROCID."""
    tasks = environment.get("SLURM_STEP_NUM_TASKS") or environment.get("SLURM_NTASKS")
    if tasks is None or "SLURM_PROCID" not in environment:
        return None
    if not {"SLURM_STEP_ID", "SLURM_STEPID"} & environment.keys():
        if tasks == "1":
            return None
        raise UsageError(
            f"this is the batch script of a job with {tasks} tasks, and none of its tasks (SLURM_STEP_ID is not set). "
            "Next: start the command with srun, `srun fssbench run --shard slurm ...`"
        )
    name = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS"
    local = _read_number("SLURM_LOCALID", environment) if "SLURM_LOCALID" in environment else None
    part, parts = _read_number("SLURM_PROCID", environment), _read_number(name, environment)
    return _make_shard(part, parts, local, f"SLURM_PROCID, {name}")


def _read_slurm_array(environment: Mapping[str, str]) -> Shard | None:
    """Read the task of a job array, whose numbers must be 0 to N-1 or 1 to N.

    Another array is one whose failed tasks were submitted again: its count is not the number of shards.
    """
    if "SLURM_ARRAY_TASK_ID" not in environment:
        return None
    task, count, first, last = (
        _read_number(f"SLURM_ARRAY_TASK_{name}", environment) for name in ("ID", "COUNT", "MIN", "MAX")
    )
    if first not in (0, 1) or last - first + 1 != count or count == 1:
        raise UsageError(
            f"a job array of {count} tasks with numbers from {first} to {last} does not say into how many shards the "
            f"plans are divided; the numbers must be 0 to N-1 or 1 to N, with N at least 2. {_BY_HAND}"
        )
    return _make_shard(task - first, count, None, "SLURM_ARRAY_TASK_ID, SLURM_ARRAY_TASK_COUNT")


def read_number(name: str, environment: Mapping[str, str], *, unknown: str, remedy: str) -> int:
    """Read a whole number that a launcher has set.

    Args:
        name: variable.
        environment: variables and their values.
        unknown: what is unknown without the number, for the error.
        remedy: its next step.

    Raises:
        UsageError: if the variable is not set, or is no number.
    """
    text = environment.get(name, "")
    if not (text.isascii() and text.isdecimal()):
        raise UsageError(f"{name} is {text!r}, not a number, so {unknown}. {remedy}")
    return int(text)


def check_process(index: int, number: int, names: str, *, remedy: str) -> None:
    """Refuse a process that is not among those that a launcher has started.

    Args:
        index: of the process, from 0.
        number: of processes.
        names: variables that say both, for the error.
        remedy: its next step.

    Raises:
        UsageError: if there is no such process.
    """
    if index >= number:
        raise UsageError(f"{names} are {index} and {number}: there is no such process. {remedy}")


def _read_number(name: str, environment: Mapping[str, str]) -> int:
    return read_number(name, environment, unknown="the shard is unknown", remedy=_BY_HAND)


def _make_shard(index: int, parts: int, local: int | None, names: str) -> Shard:
    check_process(index, parts, names, remedy=_BY_HAND)
    return Shard(index + 1, parts, local)


LAUNCHERS: Mapping[str, Callable[[Mapping[str, str]], Shard | None]] = {
    "torchrun": _read_torchrun,
    "slurm": _read_slurm_step,
    "slurm-array": _read_slurm_array,
}
"""What reads the part of a process, by launcher: `slurm` is a task of `srun`, `slurm-array` one of a job array."""
_VARIABLES = {
    "torchrun": "RANK, WORLD_SIZE",
    "slurm": "SLURM_PROCID, SLURM_STEP_NUM_TASKS",
    "slurm-array": "SLURM_ARRAY_TASK_ID, SLURM_ARRAY_TASK_COUNT",
}
