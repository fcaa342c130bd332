"""The shard of a process is read from the variables of its launcher, or refused."""

from __future__ import annotations

import pytest
from messages import error_names

from fssbench.errors import UsageError
from fssbench.evaluation.shards import Shard, choose_local_device, is_started_by_torchrun, read_shard


def torchrun(rank: int = 2, size: int = 4, local: int = 0) -> dict[str, str]:
    return {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(local), "TORCHELASTIC_RUN_ID": "x"}


def step(task: int = 2, tasks: int = 4) -> dict[str, str]:
    """Variables of a task of `srun`, as Slurm 22.05 sets them."""
    count = str(tasks)
    return {
        "SLURM_PROCID": str(task),
        "SLURM_LOCALID": str(task),
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": count,
        "SLURM_STEP_NUM_TASKS": count,
    }


def array(task: int = 2, first: int = 0, last: int = 3, count: int = 4) -> dict[str, str]:
    values = {"ID": task, "MIN": first, "MAX": last, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("variables", "shard"),
    [
        (torchrun(), Shard(3, 4, 0)),
        (torchrun(0, 1), Shard(1, 1, 0)),
        (step(), Shard(3, 4, 2)),
        (array(), Shard(3, 4)),
        (array(1, 1, 4), Shard(1, 4)),
        (array(4, 1, 4), Shard(4, 4)),
        ({**torchrun(0, 1), **step(3)}, Shard(4, 4, 3)),
        ({**step(0, 1), **array(0)}, Shard(1, 4)),
        ({**step(), "SLURM_STEP_NUM_TASKS": "3"}, Shard(3, 3, 2)),
    ],
)
def test_auto_takes_the_launcher_that_started_several(variables: dict[str, str], shard: Shard) -> None:
    assert read_shard("auto", variables) == shard


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({}, ("no launcher", "RANK", "SLURM_PROCID", "--shard I/N")),
        ({"RANK": "0"}, ("no launcher",)),
        ({**step(), **array()}, ("slurm (4 processes)", "slurm-array (4 processes)")),
        ({**torchrun(), **array()}, ("--shard torchrun", "--shard slurm-array")),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, ("batch script", "srun")),
        (array(3, 3, 3, 1), ("1 tasks", "from 3 to 3", "--shard I/N")),
        (array(0, 0, 0, 1), ("1 tasks", "--shard I/N")),
        (array(1, 1, 7, 3), ("3 tasks", "from 1 to 7")),
        (torchrun(4, 4), ("4 and 4",)),
        (torchrun() | {"RANK": "-1"}, ("RANK", "'-1'")),
        (torchrun() | {"RANK": "²"}, ("RANK",)),
        (step() | {"SLURM_PROCID": ""}, ("SLURM_PROCID", "''")),
    ],
)
def test_variables_that_do_not_name_a_shard_are_refused(
    variables: dict[str, str], names: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError) as raised:
        read_shard("auto", variables)
    assert error_names(str(raised.value), *names, "Next:")


def test_a_named_launcher_is_read_and_no_other() -> None:
    both = {**step(1, 2), **array(3)}
    assert read_shard("slurm", both) == Shard(2, 2, 1)
    assert read_shard("slurm-array", both) == Shard(4, 4)
    with pytest.raises(UsageError, match="RANK, WORLD_SIZE"):
        read_shard("torchrun", both)


def test_processes_of_a_machine_take_turns_on_its_gpus() -> None:
    assert choose_local_device("cuda", Shard(6, 8, 5), 4) == "cuda:1"
    assert choose_local_device("cuda", Shard(6, 8, 5), 1) == "cuda"
    assert choose_local_device("cuda:2", Shard(6, 8, 5), 4) == "cuda:2"
    assert choose_local_device("cpu", Shard(6, 8, 5), 4) == "cpu"
    assert choose_local_device("cuda", Shard(6, 8), 4) == "cuda"


def test_one_process_of_torchrun_is_an_ordinary_run() -> None:
    assert is_started_by_torchrun(torchrun())
    assert not is_started_by_torchrun(torchrun(0, 1))
    assert not is_started_by_torchrun({"RANK": "0", "WORLD_SIZE": "2"})
