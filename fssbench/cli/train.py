"""`fssbench train`: train a method on the source of a benchmark."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fssbench.cli.hints import CARRIED, Verb, compose_next_command
from fssbench.cli.options import (
    data_option,
    device_option,
    feature_cache_options,
    json_option,
    out_option,
    plugin_option,
    settings_option,
    splits_option,
    threads_option,
)
from fssbench.cli.output import emit_json, escape_text
from fssbench.cli.progress import EVERY

if TYPE_CHECKING:
    from fssbench.training.outcome import Progress


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
    metavar="NAME[:VARIANT]",
    help="Benchmark whose training data and classes are used.",
)
@click.option("--fold", "-f", type=click.IntRange(0), default=0, show_default=True)
@click.option("--shot", "-k", type=click.IntRange(1), default=1, show_default=True)
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
@click.option("--steps", type=click.IntRange(1), help="Optimiser steps.")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the image-class pairs.")
@click.option("--batch", type=click.IntRange(1), help="Episodes per forward pass and process.")
@click.option(
    "--accumulate", type=click.IntRange(1), default=1, show_default=True, help="Forward passes per step."
)
@click.option(
    "--draw",
    type=click.Choice(["classes", "pairs"]),
    default="classes",
    show_default=True,
    help="Draw every class with the same probability, or every image-class pair.",
)
@click.option(
    "--invert",
    type=click.FloatRange(0, 1),
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
@click.option("--lr", "learning_rate", type=click.FloatRange(0, min_open=True), help="Learning rate.")
@click.option(
    "--schedule", type=click.Choice(["none", "step", "poly", "cosine"]), help="Schedule of the learning rate."
)
@click.option(
    "--iou-loss",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    metavar="WEIGHT",
    help="Add one minus a soft IoU to the default loss.",
)
@click.option(
    "--average",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    metavar="DECAY",
    help="Decay of a running average of the weights, which is then validated and stored, for example 0.99; 0 means "
    "no average.",
)
@click.option("--size", type=click.IntRange(32), help="Side of the square input, pixels.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of weights and episodes."
)
@click.option(
    "--amp/--no-amp", default=None, help="Compute in bfloat16. Default: yes on GPUs that support it."
)
@device_option()
@threads_option()
@click.option(
    "--val-every",
    type=click.IntRange(1),
    help="Steps between validations. Default: a twentieth of the training.",
)
@click.option(
    "--val-episodes",
    type=click.IntRange(0),
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
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Steps between two stored states.",
)
@feature_cache_options("Folder for features in half precision.")
@plugin_option()
@click.option("--download", is_flag=True, help="Download published backbone weights that are missing.")
@json_option("One JSON line on standard output.")
@click.option("--quiet", "-q", is_flag=True, help="Print no progress.")
def command(
    method: str,
    config: dict[str, Any],
    ablate: tuple[str, ...],
    backbone: str | None,
    weights: str | None,
    device: str,
    download: bool,
    as_json: bool,
    quiet: bool,
    out: Path | None,
    **rest: Any,
) -> None:
    """Train a method on the source data of a benchmark. The same command again resumes."""
    from fssbench.contracts.methods import owns_backbone
    from fssbench.data.location import find_data_folder, is_miniature
    from fssbench.loading.load import load_method
    from fssbench.loading.weights_choice import MINI_BACKBONE
    from fssbench.plugins.registry import METHODS
    from fssbench.training.settings import Settings
    from fssbench.training.stages import choose_start_weights, require_start
    from fssbench.training.trainer import train

    cls = METHODS.get(method)
    require_start(cls, rest["stage"], rest["start"])
    if backbone is None and cls.needs_backbone and is_miniature(find_data_folder(rest["data"])):
        backbone = MINI_BACKBONE
    weights = choose_start_weights(cls, rest["start"], weights)
    trained = f"{method}-{rest['stage']}" if rest["stage"] else method
    place = (
        f"{trained}-{rest['benchmark'].replace(':', '-')}-f{rest['fold']}-{rest['shot']}shot-s{rest['seed']}"
    )
    settings = Settings(out=out or Path("trained") / place, **rest)
    loaded = load_method(
        cls,
        backbone=backbone,
        weights=weights,
        ablate=ablate,
        device=device,
        seed=settings.seed,
        download=download,
        untrained=True,
        **config,
    )
    progress = _TrainingProgress(quiet=quiet or os.environ.get("RANK", "0") != "0")
    progress.say(f"training {method} on {settings.benchmark} into {settings.out}")
    with progress:
        done = train(loaded, settings, tell=progress.say, watch=progress.step)
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        emit_json([{**done.__dict__, "method": method, "benchmark": settings.benchmark}])
        return
    best = "" if done.best is None else f", validation mIoU {done.best:.1f} at step {done.best_step}"
    state = "done" if done.computed else "already complete"
    click.echo(
        escape_text(
            f"{done.checkpoint}: {state}, {done.steps} steps, loss {done.loss:.4f}{best} ({done.selection})"
        )
    )
    where: tuple[str, ...] = (*CARRIED, "--fold", "--shot")
    if owns_backbone(cls):
        where = tuple(option for option in where if option != "--weights")
    verb, named = ("run", "--checkpoint") if settings.stage is None else ("train", "--start")
    words = (verb, "-m", method, "-b", settings.benchmark, named, done.checkpoint)
    progress.say(f"Next: `{compose_next_command(*words, carried=where)}`")


class _TrainingProgress:
    """Shows progress on standard error: a bar at a terminal, a line every ten seconds in a pipe."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._started = self._last_line = time.monotonic()
        self._first_step: int | None = None

    def say(self, text: str) -> None:
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(escape_text(text), markup=False, highlight=False)
        else:
            click.echo(escape_text(text), err=True)

    def __enter__(self) -> None:
        if self._quiet or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress as Bar,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[what]}"),
            TimeRemainingColumn(),
        )
        self._bar = Bar(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task("", total=None, what="")
        self._bar.start()

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def step(self, progress: Progress) -> None:
        """Show one step."""
        now = time.monotonic()
        if self._first_step is None:
            self._first_step, self._started = progress.step, now
            rate = 0.0
        else:
            rate = (progress.step - self._first_step) / max(now - self._started, 1e-9)
        validated = "" if progress.val_miou is None else f", validation mIoU {progress.val_miou:.1f}"
        what = f"loss {progress.loss:.4f}{validated}, {rate:.1f} steps/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=progress.step, total=progress.steps, what=what)
        elif not self._quiet and now - self._last_line >= EVERY:
            self._last_line = now
            seconds_left = (progress.steps - progress.step) / rate if rate else 0.0
            click.echo(f"step {progress.step}/{progress.steps}, {what}, {seconds_left:.0f} s left", err=True)
