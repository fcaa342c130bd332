"""Divides a run command into tasks, each with its own command: method x benchmark x fold x shot x shard.

The seeds stay in one task, because the episodes of a class share images, and every start of a process costs seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fssbench.benchmarks.catalogue import find_benchmark
from fssbench.benchmarks.suites import find_suite
from fssbench.benchmarks.toml_tables import is_file_name
from fssbench.data.location import find_data_folder, is_miniature
from fssbench.episodes.plan_file import read_plan
from fssbench.episodes.sampling import choose_size
from fssbench.evaluation.suite import MINI_EPISODES, Request, list_places
from fssbench.launching.record import REPORT, Task
from fssbench.plugins.registry import METHODS
from fssbench.runs.store import compute_shard_range

SHARDS = "shards"
"""Folder of the shards below the folder of the runs, where no report looks for runs."""


def list_tasks(request: Request, rest: Sequence[str], shards: int) -> tuple[Task, ...]:
    """List the tasks of a run command; those that compare methods on one plan follow one another.

    Args:
        request: what is to be measured.
        rest: words of the command other than those that name methods, plans, places, the output folder and the shard.
        shards: number of parts of each plan.

    Raises:
        UsageError: if a method, suite or benchmark does not exist, or none is named.
    """
    for name in request.methods:
        METHODS.get(name)
    out = request.settings.out if shards == 1 else request.settings.out / SHARDS
    tasks = []
    for place, words, episodes, size, shot in _list_commands(request):
        for method in request.methods:
            for part in range(1, shards + 1):
                of_shard = len(compute_shard_range(episodes, part, shards)) * len(request.seeds)
                shard = [] if shards == 1 else ["--shard", f"{part}/{shards}"]
                tasks.append(
                    Task(
                        name=" ".join([place, method, *shard[1:]]),
                        words=("run", "--method", method, *words, "--out", str(out), *shard, *rest),
                        method=method,
                        shot=shot,
                        size=size,
                        episodes=of_shard,
                        backbone=request.backbone,
                    )
                )
    return tuple(tasks)


def list_closing_tasks(out: Path, folder: Path, shards: int, plugins: Sequence[str]) -> tuple[Task, ...]:
    """List what follows when all tasks have ended: the merge of the shards if there are any, and the report.

    Args:
        out: folder of the runs.
        folder: folder of the launch.
        shards: number of parts of each plan.
        plugins: words of the command that load plugins.
    """
    merge = ("merge", str(out / SHARDS), "--out", str(out))
    report = ("report", str(out), "--out", str(folder / REPORT), *plugins)
    commands = [merge, report] if shards > 1 else [report]
    return tuple(
        Task(name=words[0], words=words, method="", shot=0, size=0, episodes=0) for words in commands
    )


def _list_commands(request: Request) -> Iterator[tuple[str, list[str], int, int, int]]:
    """Yield the place of each plan: its name, the words for it, number of episodes, input size and shot."""
    for file in request.plan_files:
        plan = read_plan(file)
        name = f"{plan.benchmark} fold {plan.fold} {plan.shot}-shot {file.name}"
        episodes = min(len(plan), request.episodes or len(plan))
        yield name, ["--plan", str(file)], episodes, plan.size, plan.shot
    if request.plan_files:
        return
    root = find_data_folder(request.data)
    cap = request.episodes or (MINI_EPISODES if is_miniature(root) else None)
    seeds = [word for seed in request.seeds for word in ("--seed", str(seed))]
    files = _map_ids_to_files(request)
    places = list_places(request)
    for (name, fold, shot, seed), resolved in places.items():
        if seed != request.seeds[0]:
            continue
        words = ["--benchmark", files.get(name, name), "--fold", str(fold), "--shot", str(shot), *seeds]
        episodes = min(resolved.benchmark.episodes, cap or resolved.benchmark.episodes)
        size = request.size or choose_size(resolved.benchmark, root)
        yield f"{name} fold {fold} {shot}-shot", words, episodes, size, shot


def _map_ids_to_files(request: Request) -> dict[str, str]:
    """Map the ids of benchmarks that a file defines to what the command calls them."""
    files: dict[str, str] = {}
    if request.suite is not None:
        beside = Path(request.suite).parent  # a suite names files relative to its own
        for member in find_suite(request.suite).members:
            if is_file_name(member.name):
                files[member.benchmark.id] = str(beside / member.name)
    for name in request.benchmarks:
        if is_file_name(name):
            files[find_benchmark(name).id] = name
    return files
