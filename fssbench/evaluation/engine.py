"""Evaluates methods on a plan.

The methods go through the plan in lockstep, so that an image is decoded and a backbone run once for all of them.  The
order of the episodes is chosen so that images recur while their features are held.  Each episode is stored the
moment it is counted.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from fssbench.contracts.arguments import Count, check_arguments
from fssbench.contracts.benchmarks import ScoreSize
from fssbench.contracts.datasets import Dataset
from fssbench.contracts.episodes import Episode, Plan
from fssbench.contracts.methods import Method
from fssbench.contracts.precision import Precision
from fssbench.data.location import open_dataset
from fssbench.data.picture_names import Pictures
from fssbench.errors import DataError, FssbenchError, PluginError
from fssbench.evaluation.batched_run import BatchedRun
from fssbench.evaluation.batches import choose_batch, explain_unbatched, order_batches_for_reuse
from fssbench.evaluation.feature_cache import FeatureCache
from fssbench.evaluation.inputs import Inputs
from fssbench.evaluation.isolated_method import runs_apart
from fssbench.evaluation.isolation import generators_kept
from fssbench.evaluation.kept_masks import KeptMasks
from fssbench.evaluation.method_run import MethodRun
from fssbench.evaluation.precision import exact_float32
from fssbench.evaluation.probing import probe_supports
from fssbench.evaluation.rounding import list_rounding_episodes, probe_rounding
from fssbench.evaluation.settings import (
    Evaluation,
    Settings,
    make_cache,
    make_settings,
    select_part,
)
from fssbench.evaluation.support_effect import choose_probed_episodes
from fssbench.evaluation.walk import Watch, walk
from fssbench.evaluation.weights_guard import WeightsGuard
from fssbench.kept_memory import freed_memory_kept
from fssbench.progress import Progress
from fssbench.runs.identity import hash_plan_files
from fssbench.runs.pictures import Thumbnails

_ANSWERS = 1 << 26
"""Bytes of the masks that a run keeps for second answers: 3,355 of 400 px, or 14 photographs of 6,000 px."""


@check_arguments
def evaluate(
    method: Method,
    plan: Plan,
    *,
    out: str | Path = "runs",
    score_size: ScoreSize | None = None,
    device: str = "cpu",
    shard: tuple[int, int] | None = None,
    save_masks: bool = False,
    sensitivity: int = 0,
    precision: Precision = "float32",
    batch: Count = 1,
    watch: Watch | None = None,
    progress: bool = True,
) -> Evaluation:
    """Evaluate one method on one plan.  The same call resumes an unfinished run.

    Each episode is stored when it is counted, so an interrupt loses at most what was being computed: an episode, a
    batch, or three episodes on a CUDA device.

    Args:
        method: from `fssbench.load_method`.
        plan: from `fssbench.plan`, made with `data`.
        out: folder of all runs.
        score_size: `input` or `original`; None for that of the benchmark, `input` for all that are built in.
        device: torch device.
        shard: part i of n (1-based) of the plan.
        save_masks: whether to store the predicted masks as PNG in the folder of the run.
        sensitivity: number of episodes to predict a second time, with supports of another class.
        precision: `bf16` computes products and convolutions in bfloat16, which is marked and part of the identity;
            some episodes are then computed in float32 too, and the difference is in the mark.
        batch: number of episodes that the method predicts together; more than 1 is marked and part of the identity, and
            some episodes are then predicted alone too, and the difference is in the mark.  A method that adapts to
            each episode is run at batch 1, with a warning.
        watch: called after each episode.
        progress: whether to show progress: a bar in a notebook or at a terminal, lines in a pipe.

    Returns:
        Folder, identity and score.  A notebook shows it as a table with its marks.

    Raises:
        DataError: for missing or damaged data, or a folder that cannot be written.
        DatasetContractError: if the data set plugin breaks its contract, naming the item.
        PluginError: if the method breaks its contract, naming the episode.
        LockedError: if another process owns the run.

    Example:
        >>> import fssbench
        >>> drawn = fssbench.plan("pascal-to-chestxray", data="mini", episodes=2, size=96)
        >>> method = fssbench.load_method("panet", plan=drawn)
        >>> fssbench.evaluate(method, drawn, out="runs").score.episodes
        2
    """
    settings = make_settings(
        out=Path(out),
        score_size=score_size,
        device=device,
        shard=shard,
        save_masks=save_masks,
        sensitivity=sensitivity,
        precision=precision,
        batch=batch,
    )
    for sentence in explain_unbatched([method], settings):
        warnings.warn(sentence, stacklevel=3)
    shown = Progress(quiet=not progress)
    steps = [step for step in (shown.watch_plan(plan) if progress else None, watch) if step is not None]

    def tell(label: str, done: int, planned: int) -> None:
        for step in steps:
            step(label, done, planned)

    with shown.over(len(select_part(plan, settings))):
        resumed = shown.resume_plan(plan) if progress else None
        done, failed = evaluate_all([method], plan, settings, watch=tell, resumed=resumed)
    if failed:
        raise failed[0][1]
    return done[0]


def evaluate_all(
    methods: Sequence[Method],
    plan: Plan,
    settings: Settings,
    *,
    cache: FeatureCache | None = None,
    watch: Watch | None = None,
    defer: Callable[[Method], None] | None = None,
    resumed: Watch | None = None,
) -> tuple[list[Evaluation], list[tuple[Method, FssbenchError]]]:
    """Evaluate several methods on one plan in lockstep.

    A method that breaks its contract stops; the others continue.

    Args:
        methods: loaded methods.
        plan: the full plan.
        settings: output folder, device, shard and more.
        cache: a feature cache shared with other plans; its own by default.
        watch: called after each episode of each method.
        defer: called with each method that stopped because the others would wait for it (`fssbench.evaluation.pace`);
            another call for it goes on where it stopped.  By default none stops.
        resumed: called before the first episode for each run of which only a part is stored.

    Returns:
        What was evaluated, and the methods that broke with their error.
    """
    dataset = open_dataset(plan.dataset, data=plan.data, splits=plan.splits, variant=plan.dataset_variant)
    files = hash_plan_files(dataset, plan)
    cache = make_cache(settings) if cache is None else cache
    guards, failed = _guard_weights(methods, settings.device)
    with ExitStack() as stack:
        stack.enter_context(generators_kept())
        stack.enter_context(freed_memory_kept())
        stack.enter_context(exact_float32())  # of the backbones; each call of a method has its own
        device = torch.device(settings.device)
        if device.type == "cuda":
            stack.enter_context(torch.cuda.device(device))  # events are recorded on the present device
        here = [m for m in methods if settings.inspect is None and not runs_apart(m, settings)]
        inputs = Inputs(
            dataset,
            plan.size,
            device,
            cache,
            files,
            settings.workers,
            settings.replay,
            settings.precision,
            here,
        )
        stack.callback(inputs.close)
        small, pictures = Thumbnails(inputs.reader), Pictures.of_plan(dataset, plan)
        # the processes of methods begin before a folder is locked, so that none of them holds a lock
        runs = [_make_run(guard, plan, dataset, settings, files.sha256, small, pictures) for guard in guards]
        for run in runs:
            stack.enter_context(run)
        for run in runs:
            files.write_prefixes(run.path)
            probed = choose_probed_episodes(plan, settings.sensitivity) if settings.sensitivity else ()
            run.answers = KeptMasks({*probed, *list_rounding_episodes(run, plan)}, _ANSWERS)
            if resumed is not None and 0 < run.count_done() < run.planned:
                resumed(run.label, run.count_done(), run.planned)
        failed += walk(
            runs, _order_episodes(runs, plan, settings, inputs), inputs, watch, may_defer=defer is not None
        )
        failed += probe_supports(runs, plan, settings, inputs)
        failed += probe_rounding(
            runs, plan, settings, inputs, Inputs(dataset, plan.size, device, cache, files)
        )
        done = []
        for run in [r for r in runs if r.broken is None]:
            try:
                run.record_support_sizes(inputs)
                evaluation = run.close()
            except FssbenchError as error:
                run.broken = error
                failed.append((run.method, error))
                continue
            if not run.deferred:
                done.append(evaluation)
        whole = [run for run in runs if run.broken is None]
        try:
            files.check_all()
        except DataError as error:  # the counts are right, but nobody can compute them again from these files
            return [], [*failed, *((run.method, error) for run in whole)]
        if defer is not None:
            for run in whole:
                if run.deferred:
                    defer(run.method)
        return done, failed


def _guard_weights(
    methods: Sequence[Method], device: str
) -> tuple[list[WeightsGuard], list[tuple[Method, FssbenchError]]]:
    """Move the methods to the device and note their weights; a method whose weights were changed before fails."""
    guards: list[WeightsGuard] = []
    failed: list[tuple[Method, FssbenchError]] = []
    for method in methods:
        try:
            guards.append(WeightsGuard(method.to(device).eval()))
        except PluginError as error:
            failed.append((method, error))
    return guards, failed


def _order_episodes(
    runs: Sequence[MethodRun], plan: Plan, settings: Settings, inputs: Inputs
) -> list[Episode]:
    """List the episodes that a run lacks, in the order in which they are evaluated, and announce them."""
    todo = [
        episode
        for episode in select_part(plan, settings)
        if (settings.only is None or episode.index in settings.only)
        and any(run.lacks(episode.index) for run in runs)
    ]
    methods = [run.method for run in runs]
    batch = max((run.batch for run in runs), default=1)
    ordered = order_batches_for_reuse(todo, batch, inputs.count_images_held(methods))
    inputs.expect(methods, ordered, batch)
    return ordered


def _make_run(
    guard: WeightsGuard,
    plan: Plan,
    dataset: Dataset,
    settings: Settings,
    data: str,
    small: Thumbnails,
    pictures: Pictures,
) -> MethodRun:
    """Make the run of one method, which predicts one episode at a time or several together."""
    batch = choose_batch(guard.method, settings)
    if batch == 1:
        return MethodRun(guard, plan, dataset, settings, data, small, pictures)
    return BatchedRun(guard, plan, dataset, settings, data, small, pictures, batch)
