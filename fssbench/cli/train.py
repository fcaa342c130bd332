"""`fssbench train`: train a method on the source of a benchmark."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from fssbench.cli.hints import CARRIED, Verb, compose_next_command
from fssbench.cli.numbers import SEED, SHOT, SIDE, WORKERS, Real, Whole
from fssbench.cli.options import (
    BENCHMARK,
    data_option,
    device_option,
    feature_cache_options,
    json_option,
    out_option,
    pdb_option,
    plugin_option,
    settings_option,
    splits_option,
    threads_option,
)
from fssbench.cli.output import emit_json, escape_text
from fssbench.plural import describe_count


@click.command(
    cls=Verb,
    epilog="Default values of the training come from the recipe of the method (`fssbench show METHOD`). The same "
    "command again resumes. To train with several processes: torchrun --nproc-per-node N -m fssbench train ...",
)
@click.option("--method", "-m", required=True, metavar="NAME", help="Method to train.")
@click.option(
    "--benchmark",
    "-b",
    required=True,
    metavar=BENCHMARK,
    help="Benchmark whose training data and classes are used: id or TOML file.",
)
@click.option("--fold", "-f", type=Whole(0), default=0, show_default=True)
@click.option("--shot", "-k", type=SHOT, default=1, show_default=True)
@data_option()
@splits_option()
@out_option(None, "Default: trained/METHOD-BENCHMARK-...")
@click.option("--backbone", metavar="NAME", help="As for `run`.")
@click.option("--weights", metavar="ID|FILE", help="Backbone weights: a published id, `random`, or a file.")
@settings_option("config")
@click.option(
    "--ablate", multiple=True, metavar="NAME", help="Ablation of the method, see `show`; repeatable."
)
@click.option(
    "--stage", metavar="NAME", help="Earlier stage of a method that is trained in stages, see `show`."
)
@click.option(
    "--start", type=click.Path(path_type=Path), metavar="FILE", help="Checkpoint of the stage before."
)
@click.option("--steps", type=Whole(1), help="Optimiser steps.")
@click.option("--epochs", type=Whole(1), help="Passes over the image-class pairs.")
@click.option("--batch", type=Whole(1), help="Episodes per forward pass and process.")
@click.option("--accumulate", type=Whole(1), default=1, show_default=True, help="Forward passes per step.")
@click.option(
    "--draw",
    type=click.Choice(["classes", "pairs"]),
    default="classes",
    show_default=True,
    help="Draw every class with the same probability, or every image-class pair.",
)
@click.option(
    "--invert",
    type=Real(0, 1),
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Share of episodes in which object and background are exchanged.",
)
@click.option(
    "--without-novel", is_flag=True, help="Leave out images that also show a test class of the fold."
)
@click.option(
    "--optimizer",
    type=click.Choice(["sgd", "adam", "adamw"]),
    help="Optimiser, instead of that of the recipe.",
)
@click.option("--lr", "learning_rate", type=Real(0, min_open=True), help="Learning rate.")
@click.option(
    "--schedule", type=click.Choice(["none", "step", "poly", "cosine"]), help="Schedule of the learning rate."
)
@click.option(
    "--iou-loss",
    type=Real(0),
    default=0.0,
    show_default=True,
    metavar="WEIGHT",
    help="Add one minus a soft IoU to the default loss.",
)
@click.option(
    "--average",
    type=Real(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    metavar="DECAY",
    help="Decay of a running average of the weights, which is then validated and stored, for example 0.99; 0 means "
    "no average.",
)
@click.option("--size", type=SIDE, help="Side of the square input, pixels.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of weights and episodes.")
@click.option(
    "--amp/--no-amp", default=None, help="Compute in bfloat16. Default: yes on GPUs that support it."
)
@device_option()
@threads_option()
@click.option(
    "--val-every",
    type=Whole(1),
    help="Steps between validations. Default: a twentieth of the training.",
)
@click.option(
    "--val-episodes",
    type=Whole(0),
    default=100,
    show_default=True,
    help="Episodes per validation; 0 means no validation.",
)
@click.option(
    "--select-on-test", is_flag=True, help="Choose the checkpoint on test episodes; figures are marked."
)
@click.option("--half", is_flag=True, help="Round the checkpoint to half precision.")
@click.option(
    "--save-every",
    type=Whole(1),
    default=100,
    show_default=True,
    help="Steps between two stored states.",
)
@feature_cache_options("Folder for features in half precision.")
@click.option(
    "--workers",
    type=WORKERS,
    default=2,
    show_default=True,
    help="Threads that read the images of the next step while one computes.",
)
@plugin_option()
@click.option("--download", is_flag=True, help="Download published backbone weights that are missing.")
@pdb_option()
@json_option("One JSON line on standard output.")
@click.option("--quiet", "-q", is_flag=True, help="Print no progress.")
def command(method: str, config: dict[str, Any], as_json: bool, quiet: bool, **rest: Any) -> None:
    """Train a method on the source data of a benchmark. The same command again resumes."""
    from fssbench.contracts.methods import owns_backbone
    from fssbench.plugins.registry import METHODS
    from fssbench.training.request import train

    done = train(method, config=config, progress=not quiet, **rest)
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        emit_json([{**done.__dict__, "method": method, "benchmark": rest["benchmark"]}])
        return
    best = "" if done.best is None else f", validation mIoU {done.best:.1f} at step {done.best_step}"
    state = "done" if done.computed else "already complete"
    click.echo(
        escape_text(
            f"{done.checkpoint}: {state}, {describe_count(done.steps, 'step')}, loss {done.loss:.4f}{best} "
            f"({done.selection})"
        )
    )
    where: tuple[str, ...] = (*CARRIED, "--fold", "--shot")
    if owns_backbone(METHODS.get(method)):
        where = tuple(option for option in where if option != "--weights")
    verb, named = ("run", "--checkpoint") if rest["stage"] is None else ("train", "--start")
    words = (verb, "-m", method, "-b", rest["benchmark"], named, done.checkpoint)
    if not quiet:
        click.echo(escape_text(f"Next: `{compose_next_command(*words, carried=where)}`"), err=True)
