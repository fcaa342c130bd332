"""`fssbench run`: evaluate methods on benchmarks."""

from __future__ import annotations

import re
import time
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fssbench.cli.config_file import read_config
from fssbench.cli.hints import Verb
from fssbench.cli.numbers import SEED, SHOT, SIDE, WORKERS, Whole
from fssbench.cli.options import (
    BENCHMARK,
    data_option,
    device_option,
    feature_cache_options,
    isolation_options,
    json_option,
    out_option,
    pdb_option,
    plugin_option,
    protocol_option,
    settings_option,
    splits_option,
    threads_option,
)
from fssbench.errors import UsageError

if TYPE_CHECKING:
    from fssbench.evaluation.shards import Shard
    from fssbench.evaluation.suite import Request


_SHARD = re.compile(r"[0-9]{1,9}/[0-9]{1,9}")


def _parse_shard(context: click.Context, _: click.Parameter, value: str | None) -> Shard | None:
    from fssbench.evaluation.shards import LAUNCHERS, Shard, is_started_by_torchrun, read_shard

    if value is None:
        if not context.resilient_parsing and is_started_by_torchrun():
            raise UsageError(
                "torchrun started several processes, which would all compute the same. Next: add --shard auto, which "
                "gives each its part of every plan"
            )
        return None
    if value == "auto" or value in LAUNCHERS:
        return None if context.resilient_parsing else read_shard(value)
    part, slash, parts = value.partition("/")
    if not (slash and _SHARD.fullmatch(value) and 1 <= int(part) <= int(parts)):
        raise click.BadParameter(
            f"{value!r} must have the form I/N with 1 <= I <= N, such as 2/4, or be auto, {', '.join(LAUNCHERS)}"
        )
    return Shard(int(part), int(parts))


def _place_on_device(device: str, shard: Shard | None) -> str:
    """Choose the GPU of this process among those that a launcher started on the machine."""
    if shard is None or shard.local is None or device != "cuda":
        return device
    import torch

    from fssbench.evaluation.shards import choose_local_device

    return choose_local_device(device, shard, torch.cuda.device_count())


@click.command(
    cls=Verb,
    epilog="By default, all folds are run at 1 and 5 shots by the published protocol. The same command again resumes.",
)
@click.option("--method", "-m", "methods", multiple=True, metavar="NAME", help="Method; repeatable.")
@click.option(
    "--suite", metavar="NAME|FILE", help="List of benchmarks, such as cross-domain, or a TOML file."
)
@click.option(
    "--benchmark", "-b", "benchmarks", multiple=True, metavar=BENCHMARK, help="Id or TOML file; repeatable."
)
@click.option("--fold", "-f", "folds", multiple=True, type=Whole(0), help="Repeatable. Default: all.")
@click.option("--shot", "-k", "shots", multiple=True, type=SHOT, help="Repeatable. Default: 1 and 5.")
@click.option(
    "--plan",
    "plan_files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Run the episodes of a stored plan, such as a run's plan.json; repeatable.",
)
@click.option(
    "--backbone", metavar="NAME", help="Default: the method's own; efficientnet-lite0 with `--data mini`."
)
@click.option("--weights", metavar="ID|FILE", help="Backbone weights: a published id, `random`, or a file.")
@click.option("--checkpoint", metavar="FILE", help="Trained weights; {fold} and {method} in it are replaced.")
@click.option(
    "--ablate", multiple=True, metavar="NAME", help="Ablation of the method, see `show`; repeatable."
)
@settings_option("config_values")
@data_option()
@splits_option()
@out_option("runs", "Folder of the runs.")
@device_option()
@threads_option()
@click.option(
    "--precision",
    type=click.Choice(["float32", "bf16"]),
    default="float32",
    show_default=True,
    help="bf16 computes products and convolutions in bfloat16; marked in every output with its effect on mIoU, for "
    "which some episodes are computed in float32 too.",
)
@click.option(
    "--batch",
    type=Whole(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Predict N episodes together; marked in every output with its effect on mIoU, for which some episodes are "
    "predicted alone too.",
)
@protocol_option()
@click.option("--seed", "seeds", multiple=True, type=SEED, help="Episode seed; repeatable. Default: 0.")
@click.option(
    "--score-size",
    type=click.Choice(["input", "original"]),
    help="Compare masks at the network's input size or at the size of the image. Default: that of the benchmark, input "
    "for all that are built in.",
)
@click.option(
    "--shard",
    metavar="I/N|auto",
    callback=_parse_shard,
    help="Part I of N of every plan; join with `merge`. `auto` reads I and N from the variables of torchrun or Slurm; "
    "`torchrun`, `slurm` (a task of srun) and `slurm-array` name one of them.",
)
@click.option("--episodes", type=Whole(1), help="Largest number of episodes per run; marked in every output.")
@click.option(
    "--supports",
    type=Whole(1),
    default=1,
    metavar="N",
    help="Ask each query with N support sets; `report` says how much their choice moves a figure. Default: 1.",
)
@click.option(
    "--first",
    type=Whole(1),
    metavar="N",
    help="Print the first N episodes, and store no run.",
)
@click.option(
    "--show",
    is_flag=True,
    help="Draw these episodes with the maps that a method offers. Default: 4 episodes.",
)
@click.option(
    "--show-out",
    type=click.Path(path_type=Path),
    default=Path("inspection"),
    show_default=True,
    metavar="DIR",
    help="Folder of these pictures and their page.",
)
@click.option(
    "--size",
    type=SIDE,
    help="Side of the network input, pixels; a size other than the published one is marked.",
)
@feature_cache_options("Folder for features, which later runs use: the second costs the head alone.")
@click.option(
    "--workers",
    type=WORKERS,
    default=2,
    show_default=True,
    help="Threads that read the images of the next episodes.",
)
@isolation_options(600.0)
@click.option(
    "--panels",
    type=Whole(0),
    default=60,
    show_default=True,
    help="Episodes whose pictures are kept for reports, 10 to 25 kB each.",
)
@click.option(
    "--save-masks",
    is_flag=True,
    help="Store the predicted masks as PNG in the run folder, at the size of the score.",
)
@click.option(
    "--sensitivity",
    type=Whole(0),
    default=0,
    metavar="N",
    help="Predict N episodes a second time, with supports of another class; `report` tells whether they matter.",
)
@click.option(
    "--config", metavar="FILE", is_eager=True, expose_value=False, callback=read_config, help="TOML file."
)
@plugin_option()
@click.option(
    "--untrained", is_flag=True, help="Run trainable methods without a checkpoint; marked in every output."
)
@click.option(
    "--force",
    is_flag=True,
    help="Load a checkpoint of another method or other settings; marked in every output.",
)
@click.option("--download", is_flag=True, help="Download published backbone weights that are missing.")
@pdb_option()
@json_option("One JSON line per run on standard output.")
@click.option("--quiet", "-q", is_flag=True, help="Print no progress.")
def command(
    out: Path,
    first: int | None,
    show: bool,
    show_out: Path,
    as_json: bool,
    quiet: bool,
    **rest: Any,
) -> None:
    """Evaluate methods on benchmarks. The same command again resumes."""
    from fssbench.cli.progress import Progress
    from fssbench.cli.run_output import RunOutput
    from fssbench.evaluation.request import raise_broken
    from fssbench.evaluation.suite import execute, prepare

    request = build_request(out=out, **rest)
    progress = Progress(quiet=quiet)
    if first is not None or show:
        from fssbench.cli.run_inspection import FIRST, inspect_episodes

        folder = show_out if show else None
        inspect_episodes(request, progress, first=first or FIRST, folder=folder, as_json=as_json)
        return
    prepared = prepare(request, tell=progress.say)
    output = RunOutput(prepared, progress, as_json=as_json)
    output.announce()
    started, broken = time.monotonic(), []
    try:
        with progress.over(prepared.episodes):
            for task, done, failed in execute(prepared, watch=progress.watch, resumed=progress.resume):
                for evaluation in done:
                    output.print_run(task, evaluation)
                broken.extend(failed)
    except KeyboardInterrupt:
        output.conclude_early(out)
        raise
    output.print_table()
    output.conclude(out, time.monotonic() - started)
    raise_broken([error for _, error in broken])


def build_request(
    *,
    methods: tuple[str, ...],
    config_values: dict[str, str],
    folds: tuple[int, ...],
    seeds: tuple[int, ...],
    device: str,
    shard: Shard | None,
    **rest: Any,
) -> Request:
    """Build the request from the options that say what is measured and how."""
    from fssbench.evaluation.settings import Settings
    from fssbench.evaluation.suite import Request

    of_settings = {field.name for field in fields(Settings)} & rest.keys()
    settings = Settings(
        device=_place_on_device(device, shard),
        shard=None if shard is None else (shard.part, shard.parts),
        **{name: rest[name] for name in of_settings},
    )
    options: dict[str, Any] = {
        name: tuple(dict.fromkeys(value)) if isinstance(value, tuple) else value
        for name, value in rest.items()
        if name not in of_settings
    }
    return Request(
        methods=tuple(dict.fromkeys(methods)),
        folds=tuple(dict.fromkeys(folds)),
        seeds=tuple(dict.fromkeys(seeds)) or (0,),
        config=config_values,
        settings=settings,
        **options,
    )
