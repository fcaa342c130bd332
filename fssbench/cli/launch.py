"""`fssbench launch`: submit a run command to a cluster as many jobs, and see what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fssbench.cli.hints import Verb, compose_next_command
from fssbench.cli.options import PATH, json_option
from fssbench.cli.output import emit_json, escape_text, print_table
from fssbench.cli.run_words import list_run_words, parse_run
from fssbench.errors import DataError, UsageError
from fssbench.files.secrets import hide_in_text
from fssbench.plural import describe_count, join_some

if TYPE_CHECKING:
    from fssbench.evaluation.suite import Request
    from fssbench.launching.record import Launch, Resources, Task
    from fssbench.launching.status import TaskStatus

_DIVIDED = ("--method", "--suite", "--benchmark", "--fold", "--shot", "--seed", "--plan", "--out", "--shard")
"""Options of `run` that a task has values of its own for."""
_REFUSED = ("--shard", "--first", "--show", "--pdb")
_SHOWN = 3
"""Commands that --dry-run prints."""


def _read_minutes(_: click.Context, __: click.Parameter, value: str) -> int:
    from fssbench.launching.slurm import parse_minutes

    try:
        return parse_minutes(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _check_other(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        name, equals, text = value.partition("=")
        if not (equals and text and name.replace("-", "").isalnum()):
            raise click.BadParameter(f"{value!r} must have the form NAME=VALUE, such as account=vision")
    return values


@click.group(invoke_without_command=True)
@click.option("--slurm", is_flag=True, help="Submit to Slurm; the only engine.")
@click.option(
    "--array",
    "at_once",
    type=click.IntRange(1),
    metavar="N",
    help="Run at most N tasks at once. Default: all.",
)
@click.option("--partition", metavar="P", help="Partition of the jobs. Default: that of the cluster.")
@click.option(
    "--time",
    "minutes",
    default="60",
    show_default=True,
    metavar="T",
    callback=_read_minutes,
    help="Time limit of a job, as Slurm writes it: 90 (minutes), 12:00:00, 2-00:00:00. A task that needs longer is "
    "queued again, and goes on.",
)
@click.option("--gres", metavar="G", help="Generic resources of a task, such as gpu:1.")
@click.option("--cpus", type=click.IntRange(1), metavar="N", help="CPUs of a task.")
@click.option("--mem", "memory", metavar="SIZE", help="Memory of a task, such as 32G.")
@click.option(
    "--sbatch",
    "other",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_check_other,
    help="Another option of sbatch, such as account=vision; repeatable.",
)
@click.option("--shards", type=click.IntRange(1), default=1, show_default=True, help="Parts of each plan.")
@click.option("--folder", type=PATH, metavar="DIR", help="Folder of the launch. Default: launches/DATE-TIME.")
@click.option("--dry-run", is_flag=True, help="Print the tasks and their estimated cost, and submit nothing.")
@click.option(
    "--check/--no-check",
    default=True,
    help="Check data, weights and checkpoints here first, as each task will.",
)
@json_option("One JSON object per task.")
@click.pass_context
def command(context: click.Context, /, **options: Any) -> None:
    """Submit a run command to a cluster: one task per method, benchmark, fold, shot and shard.

    The merge of the shards and the report follow when all tasks have ended. A task that is queued again after a time
    limit, a preemption or a dead node goes on where it stopped, and one that fails costs only itself.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(2)
    context.obj = options


@command.command(
    cls=Verb, add_help_option=False, context_settings={"ignore_unknown_options": True}, options_metavar=""
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="OPTIONS OF RUN")
@click.pass_context
def run(context: click.Context, words: tuple[str, ...]) -> None:
    """Submit `fssbench run` with these options."""
    from fssbench.cli.run import build_request
    from fssbench.evaluation.suite import prepare
    from fssbench.launching.record import Launch, Resources, format_now, write_launch
    from fssbench.launching.slurm import require_slurm, submit
    from fssbench.launching.tasks import list_closing_tasks, list_tasks

    options = context.obj
    parsed = parse_run(context, words)
    given = list_run_words(parsed, words, ())
    for option in _REFUSED:
        if option in given:
            more = "; launch has --shards N" if option == "--shard" else ""
            raise UsageError(f"{option} is not an option of a run that is launched{more}. Next: leave it out")
    if not options["slurm"]:
        raise UsageError("launch needs the engine. Next: `fssbench launch --slurm run ...`")
    if not options["dry_run"]:
        require_slurm()
    kept = ("first", "show", "show_out", "as_json", "quiet")
    request = build_request(**{name: value for name, value in parsed.params.items() if name not in kept})
    if not request.methods:
        raise UsageError("no method given. Next: `fssbench list methods`, then --method NAME")
    rest = list_run_words(parsed, words, (*_DIVIDED, "--json", "--quiet"))
    shards, folder = options["shards"], _choose_folder(options["folder"])
    tasks = list_tasks(request, [*rest, "--quiet"], shards)
    if options["check"]:
        click.echo("checking data, weights and checkpoints (--no-check leaves this out)", err=True)
        here = replace(request.settings, device="cpu")  # the device of the nodes may be absent here
        for note in prepare(replace(request, seeds=request.seeds[:1], settings=here)).notes:
            click.echo(f"note: {escape_text(note)}", err=True)
    plugins = _select_plugin_words(given)
    names = ("at_once", "partition", "minutes", "gres", "cpus", "memory", "other")
    launch = Launch(
        created_utc=format_now(),
        directory=str(Path.cwd()),
        resources=Resources(**{name: options[name] for name in names}),
        tasks=tasks,
        closing=list_closing_tasks(request.settings.out, folder, shards, plugins),
    )
    if options["dry_run"]:
        _print_tasks(launch, request, as_json=options["as_json"])
        return
    write_launch(launch, folder)
    launch = submit(launch, folder)
    write_launch(launch, folder)
    _conclude(launch, folder, len(tasks), as_json=options["as_json"])


@command.command(cls=Verb)
@click.argument("folder", type=PATH)
@click.option("--all", "everything", is_flag=True, help="List complete and waiting tasks too.")
@json_option("One JSON object per task.")
def status(folder: Path, everything: bool, as_json: bool) -> None:
    """Show what has become of the tasks of a launch. The exit code is 3 if some failed or were lost."""
    from fssbench.launching.record import read_launch
    from fssbench.launching.slurm import read_states
    from fssbench.launching.status import State, list_statuses

    launch = read_launch(folder)
    statuses = list_statuses(launch, folder, read_states(launch))
    if as_json:
        emit_json(_as_record(each) for each in statuses)
    else:
        shown = [each for each in statuses if everything or each.is_over or each.state == State.RUNNING]
        if shown:
            columns = ("task", "job", "state", "detail", "starts", "log")
            print_table(columns, [(e.task.name, e.job, e.state, e.detail, e.starts, e.log) for e in shown])
    counts = Counter(each.state for each in statuses)
    text = ", ".join(f"{counts[state]} {state}" for state in State if counts[state])
    click.echo(f"{describe_count(len(statuses), 'task')}: {text}", err=True)
    if any(each.is_over for each in statuses):
        click.echo(f"Next: `{compose_next_command('launch', 'again', folder)}`", err=True)
        click.get_current_context().exit(DataError.exit_code)


@command.command(cls=Verb)
@click.argument("folder", type=PATH)
@json_option("One JSON object per task.")
def again(folder: Path, as_json: bool) -> None:
    """Submit the tasks of a launch that failed or were lost once more, then its merge and report."""
    from fssbench.launching.record import locate_outcome, read_launch, write_launch
    from fssbench.launching.slurm import read_states, require_slurm, submit
    from fssbench.launching.status import State, list_statuses

    require_slurm()
    launch = read_launch(folder)
    statuses = list_statuses(launch, folder, read_states(launch))
    active = [each for each in statuses if each.state in {State.WAITING, State.RUNNING}]
    if active:
        raise UsageError(
            f"{describe_count(len(active), 'task is', 'tasks are')} still waiting or running in {folder}. Next: "
            "wait for them, or `scancel` them"
        )
    places = [each.number for each in statuses if each.is_over and each.number < len(launch.tasks)]
    if not any(each.is_over for each in statuses):
        click.echo(f"All tasks of {folder} are complete", err=True)
        return
    for place in (*places, *range(len(launch.tasks), len(statuses))):
        locate_outcome(folder, place).unlink(missing_ok=True)
    submitted = submit(launch, folder, places)
    jobs = [new or old for new, old in zip(submitted.jobs, launch.jobs, strict=True)]
    write_launch(submitted.changed(jobs=tuple(jobs)), folder)
    _conclude(submitted, folder, len(places), as_json=as_json)


def _choose_folder(folder: Path | None) -> Path:
    """Return the folder of a launch.

    Raises:
        UsageError: if it holds a launch already.
    """
    from fssbench.launching.record import FILE

    folder = folder or Path("launches") / datetime.now().strftime("%Y%m%d-%H%M%S")
    if (folder / FILE).exists():
        raise UsageError(
            f"{folder} holds a launch already. Next: `fssbench launch status {folder}`, or another --folder"
        )
    return folder


def _select_plugin_words(words: Sequence[str]) -> list[str]:
    """Select the options that load plugins, which the report needs too."""
    pairs = pairwise(words)
    return [word for option, value in pairs if option == "--plugin" for word in (option, value)]


def _print_tasks(launch: Launch, request: Request, *, as_json: bool) -> None:
    """Print what would be submitted, and what it would cost by the measurements beside the runs."""
    from fssbench.efficiency.store import read_all
    from fssbench.launching.estimate import START, estimate_cost

    if as_json:
        previews = (
            {**each.model_dump(mode="json"), "words": _hide_words(each)}
            for each in (*launch.tasks, *launch.closing)
        )
        emit_json(previews)
        return
    print_table(
        ("method", "tasks", "episodes"),
        [
            (name, len(of_method), sum(task.episodes for task in of_method))
            for name in request.methods
            if (of_method := [task for task in launch.tasks if task.method == name])
        ],
    )
    for task in launch.tasks[:_SHOWN]:
        click.echo(escape_text(_compose(task)))
    if len(launch.tasks) > _SHOWN:
        click.echo(f"... and {describe_count(len(launch.tasks) - _SHOWN, 'more task')}; --json lists all")
    for task in launch.closing:
        click.echo(f"then: {escape_text(_compose(task))}")
    click.echo(f"asked of Slurm for each task: {_describe(launch.resources)}")
    measurements, notes = read_all([request.settings.out])
    estimate = estimate_cost(launch.tasks, measurements)
    for note in notes:
        click.echo(f"note: {escape_text(note)}", err=True)
    if estimate.devices:
        at_once = launch.resources.at_once or len(launch.tasks)
        wall = estimate.hours / min(at_once, len(launch.tasks))
        bound = "at least " if estimate.unmeasured else ""
        click.echo(
            f"estimated: {bound}{estimate.hours:.2f} h of computing for "
            f"{describe_count(estimate.episodes, 'episode')} by `bench` on "
            f"{', '.join(estimate.devices)}, with {START:.0f} s to start each task; {bound}{wall:.2f} h with "
            f"{describe_count(min(at_once, len(launch.tasks)), 'task')} at once"
        )
    if estimate.unmeasured:
        labels = (f"{method} {shot}-shot {size} px" for method, shot, size in estimate.unmeasured)
        click.echo(
            f"not in the estimate, because not measured: {join_some(labels, _SHOWN)}. "
            f"Next: `fssbench bench ...` on a machine like the nodes, with --out {request.settings.out}"
        )


def _describe(resources: Resources) -> str:
    values = {
        "--array": f"%{resources.at_once}" if resources.at_once else None,
        "--partition": resources.partition,
        "--time": f"{resources.minutes} min",
        "--gres": resources.gres,
        "--cpus-per-task": resources.cpus,
        "--mem": resources.memory,
    }
    parts = [f"{option} {value}" for option, value in values.items() if value is not None]
    return ", ".join([*parts, *(f"--{option}" for option in resources.other)])


def _compose(task: Task) -> str:
    return compose_next_command(*_hide_words(task), carried=())


def _hide_words(task: Task) -> list[str]:
    """Return the words of a task without the secrets among them; what a node is given has them."""
    return [hide_in_text(word) for word in task.words]


def _conclude(launch: Launch, folder: Path, submitted: int, *, as_json: bool) -> None:
    if as_json:
        pairs = zip((*launch.tasks, *launch.closing), (*launch.jobs, *launch.closing_jobs), strict=True)
        emit_json({"task": task.name, "job": job} for task, job in pairs if job is not None)
    else:
        arrays = dict.fromkeys(job.partition("_")[0] for job in launch.jobs if job is not None)
        click.echo(
            f"{describe_count(submitted, 'task was', 'tasks were')} submitted as {', '.join(arrays) or 'no job'}; then "
            + ", ".join(f"{t.name} {job}" for t, job in zip(launch.closing, launch.closing_jobs, strict=True))
        )
    click.echo(f"Next: `{compose_next_command('launch', 'status', folder)}`", err=True)


def _as_record(status: TaskStatus) -> dict[str, Any]:
    return {
        "task": status.task.name,
        "command": list(status.task.words),
        "job": status.job,
        "state": status.state,
        "detail": status.detail,
        "starts": status.starts,
        "log": str(status.log) if status.log is not None else None,
    }
