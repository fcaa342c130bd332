"""Trains a method by its name: what `fssbench train` does, and `fssbench.train` from Python.

This module chooses the backbone, the weights to start from and the folder; `fssbench.training.trainer` trains.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fssbench.benchmarks.catalogue import find_benchmark
from fssbench.contracts.arguments import build_from_arguments, check_arguments
from fssbench.contracts.methods import Method
from fssbench.data.location import find_data_folder, is_miniature
from fssbench.loading.load import load_method
from fssbench.loading.settings import refuse_reserved
from fssbench.loading.weights_choice import MINI_BACKBONE
from fssbench.plugins.registry import METHODS, load_plugins
from fssbench.progress import StepProgress
from fssbench.training import trainer
from fssbench.training.outcome import Progress, Trained
from fssbench.training.settings import Settings
from fssbench.training.stages import choose_start_weights, require_start


@check_arguments
def train(
    method: str | type[Method],
    benchmark: str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    backbone: str | None = None,
    weights: str | None = None,
    config: Mapping[str, Any] | None = None,
    ablate: Sequence[str] = (),
    device: str = "auto",
    download: bool = False,
    plugins: str | Path | Sequence[str | Path] = (),
    progress: bool = True,
    **options: Any,
) -> Trained:
    """Train a method on the source of a benchmark, as `fssbench train` does.  The same call again resumes.

    Args:
        method: name of a method, or a method class.
        benchmark: benchmark whose training data and classes are used, with a variant if wanted; or a benchmark file.
        data: folder of all data sets, `mini`, or None for `FSSBENCH_DATA`.
        out: folder of the training; by default `trained/` with a folder named after method, benchmark, fold,
            shot and seed.
        backbone: a registered backbone; by default the method's own, or `efficientnet-lite0` on the miniature.
        weights: backbone weights: a published id, `random`, or a file.
        config: settings of the method, by name.
        ablate: ablations of the method.
        device: torch device; `auto` is the first CUDA device, else the CPU.
        download: whether to download published backbone weights that are not on this machine.
        plugins: plugin files, folders or modules to load first.
        progress: whether to show progress: a bar in a notebook or at a terminal, lines in a pipe.
        **options: other fields of `fssbench.training.settings.Settings`, such as `fold`, `shot`, `steps`, `batch`,
            `seed`, `learning_rate` and `val_episodes`, with the rules of the options of `fssbench train`.

    Returns:
        The checkpoint, and how it was selected.

    Raises:
        UsageError: for an unknown name or a value that is not allowed.
        DataError: for missing data, too few images, or a loss that is no longer finite; the last good state is kept.
        PluginError: if the method breaks its contract, naming step and episodes.
        LockedError: if another process trains into the same folder.

    Example:
        >>> import fssbench
        >>> trained = fssbench.train("pmnet", "pascal5i", data="mini", steps=2, batch=2, size=64, val_episodes=0,
        ...     out="trained", device="cpu")
        >>> trained.checkpoint.name, trained.steps
        ('checkpoint.safetensors', 2)
    """
    load_plugins(plugins)
    cls: type[Method] = METHODS.get(method) if isinstance(method, str) else method
    refuse_reserved(config or {})
    arguments = {**options, "benchmark": str(benchmark), "data": data, "out": Path(out or "trained")}
    settings = build_from_arguments(Settings, arguments, function="fssbench.train")
    require_start(cls, settings.stage, settings.start)
    if backbone is None and cls.needs_backbone and is_miniature(find_data_folder(data)):
        backbone = MINI_BACKBONE
    if out is None:
        settings = replace(settings, out=settings.out / _name_training(cls, settings))
    loaded = load_method(
        cls,
        backbone=backbone,
        weights=choose_start_weights(cls, settings.start, weights),
        ablate=ablate,
        device=device,
        seed=settings.seed,
        download=download,
        untrained=True,
        **(config or {}),
    )
    display = StepProgress(quiet=not progress or os.environ.get("RANK", "0") != "0")
    display.say(f"training {cls.card.name} on {settings.benchmark} into {settings.out}")

    def show(reached: Progress) -> None:
        validated = "" if reached.val_miou is None else f", validation mIoU {reached.val_miou:.1f}"
        display.show(reached.step, reached.steps, f"loss {reached.loss:.4f}{validated}")

    with display:
        return trainer.train(loaded, settings, tell=display.say, watch=show)


def _name_training(cls: type[Method], settings: Settings) -> str:
    """Name the folder of a training after its method, stage, benchmark, fold, shot and seed."""
    trained = f"{cls.card.name}-{settings.stage}" if settings.stage else cls.card.name
    resolved = find_benchmark(settings.benchmark)
    where = (resolved.id if resolved.is_own else settings.benchmark).replace(":", "-").replace("@", "-")
    return f"{trained}-{where}-f{settings.fold}-{settings.shot}shot-s{settings.seed}"
