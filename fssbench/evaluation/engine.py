"""Evaluate a plan: load, predict, count, store.

Methods on one plan run in lockstep, episode by episode, so that an image is decoded and a backbone
run once for all of them.  Each episode is stored the moment it is counted.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from fssbench.contracts.datasets import Dataset
from fssbench.contracts.episodes import Episode, Plan
from fssbench.contracts.marks import Mark
from fssbench.contracts.methods import Method
from fssbench.contracts.run_manifest import RunManifest
from fssbench.data.location import open_dataset
from fssbench.data.picture_names import Pictures
from fssbench.data.reader import Target
from fssbench.errors import DataError, DatasetContractError, FssbenchError, PluginError, RunFolderError
from fssbench.evaluation.feature_cache import FeatureCache
from fssbench.evaluation.inputs import Inputs
from fssbench.evaluation.isolation import generators_kept, isolated
from fssbench.evaluation.precision import exact_float32
from fssbench.evaluation.weights_guard import WeightsGuard
from fssbench.loading.load import known_source
from fssbench.metrics import Score, count
from fssbench.plugins import execution
from fssbench.plugins.calls import plugin_call
from fssbench.plugins.import_files import drop_aliases
from fssbench.plugins.source_hash import source_of
from fssbench.runs.identity import COMMAND, data_files, make_context, make_identity, run_slug
from fssbench.runs.pictures import PANELS, Panels, Thumbnails
from fssbench.runs.store import Record, read_sessions, shard_range
from fssbench.runs.summary import absent_rule, summarise
from fssbench.runs.writer import RunWriter

ScoreSize = Literal["input", "original"]
T = TypeVar("T")
Watch = Callable[[str, int, int], None]
"""Called with a run's label, episodes done and episodes planned."""


@dataclass(frozen=True)
class Settings:
    """How an evaluation is carried out."""

    out: Path = Path("runs")
    score_size: ScoreSize = "input"
    """`input`: masks and predictions at the network's square size, as published; `original`: the query's own."""
    device: str = "cpu"
    cache_mb: int = 2048
    """Budget of the feature cache in MiB.  It changes no number."""
    shard: tuple[int, int] | None = None
    """Part i of n (1-based) of every plan."""
    panels: int = PANELS
    """Episodes whose pictures are kept for reports."""
    only: frozenset[int] | None = None
    """Indices of the episodes to compute; None for all."""


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The result of one method on one plan.  Its text shows the figures with their marks."""

    path: Path
    """The run's folder."""
    identity: str
    score: Score
    """Scores over all stored episodes; `score.episodes` is their number."""
    planned: int
    computed: int
    """Episodes this call computed; the others were stored already."""

    @property
    def marks(self) -> tuple[Mark, ...]:
        """What keeps the figures from being benchmark figures, as the command line prints it."""
        return self.score.marks

    def __str__(self) -> str:
        """Name of the run, figures, number of episodes and marks."""
        part = "" if self.score.episodes == self.planned else f" of {self.planned} planned"
        return f"{self.path.name}: {self.score}{part}"

    __repr__ = __str__


def evaluate(
    method: Method,
    plan: Plan,
    *,
    out: str | Path = "runs",
    score_size: ScoreSize = "input",
    device: str = "cpu",
    shard: tuple[int, int] | None = None,
    watch: Watch | None = None,
) -> Evaluation:
    """Evaluate one method on one plan.  The same call resumes an unfinished run.

    Args:
        method: from `fssbench.load_method`.
        plan: from `fssbench.plan`, made with `data`.
        out: folder of all runs.
        score_size: `input` (published) or `original`.
        device: torch device.
        shard: part i of n (1-based) of the plan.
        watch: called after each episode.

    Returns:
        Folder, identity and score.

    Raises:
        DataError: for missing or damaged data, or a folder that cannot be written.
        DatasetContractError: if the data set plugin breaks its contract, naming the item.
        PluginError: if the method breaks its contract, naming the episode.
        LockedError: if another process owns the run.
    """
    settings = Settings(out=Path(out), score_size=score_size, device=device, shard=shard)
    done, failed = evaluate_all([method], plan, settings, watch=watch)
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
) -> tuple[list[Evaluation], list[tuple[Method, FssbenchError]]]:
    """Evaluate several methods on one plan in lockstep.

    A method that breaks its contract stops; the others continue.

    Args:
        methods: loaded methods.
        plan: the full plan.
        settings: output folder, device, shard and more.
        cache: a feature cache shared with other plans; its own by default.
        watch: called after each episode of each method.

    Returns:
        What was evaluated, and the methods that broke with their error.
    """
    dataset = open_dataset(plan.dataset, data=plan.data, splits=plan.splits, variant=plan.dataset_variant)
    files = data_files(dataset, plan)
    cache = FeatureCache(settings.cache_mb << 20) if cache is None else cache
    failed: list[tuple[Method, FssbenchError]] = []
    guards = []
    for method in methods:
        try:
            guards.append(WeightsGuard(method.to(settings.device).eval()))
        except PluginError as error:
            failed.append((method, error))
    with ExitStack() as stack:
        stack.enter_context(generators_kept())
        stack.enter_context(exact_float32())  # of the backbones; each call of a method has its own
        inputs = Inputs(dataset, plan.size, torch.device(settings.device), cache, files)
        small, pictures = Thumbnails(inputs.reader), Pictures.of_plan(dataset, plan)
        runs = [
            stack.enter_context(_Run(guard, plan, dataset, settings, files.sha256, small, pictures))
            for guard in guards
        ]
        todo = [
            e
            for e in _part(plan, settings)
            if (settings.only is None or e.index in settings.only)
            and any(e.index not in run.writer.done for run in runs)
        ]
        inputs.expect([run.method for run in runs], todo)
        for run in runs:
            files.write_prefixes(run.path)
        for episode in todo:
            for run in [r for r in runs if r.broken is None and episode.index not in r.writer.done]:
                try:
                    run.step(episode, inputs)
                except DatasetContractError:
                    raise
                except (PluginError, RunFolderError) as error:
                    run.broken = error
                    failed.append((run.method, error))
                    continue
                if watch:
                    watch(run.label, len(run.writer.done), run.planned)
        done = []
        for run in [r for r in runs if r.broken is None]:
            try:
                done.append(run.close())
            except FssbenchError as error:
                failed.append((run.method, error))
        try:
            files.check_all()
        except DataError as error:  # the counts are right, but nobody can compute them again from these files
            return [], [*failed, *((run.method, error) for run in runs if run.broken is None)]
        return done, failed


def _part(plan: Plan, settings: Settings) -> Iterator[Episode]:
    part, parts = settings.shard or (1, 1)
    indices = shard_range(len(plan), part, parts)
    return iter(plan.episodes[indices.start : indices.stop])


class _Run:
    """One method on one plan, with its folder open."""

    def __init__(
        self,
        guard: WeightsGuard,
        plan: Plan,
        dataset: Dataset,
        settings: Settings,
        data: str,
        small: Thumbnails,
        pictures: Pictures,
    ) -> None:
        self.guard = guard
        self.method = method = guard.method
        self.plan = plan
        self.settings = settings
        self.broken: FssbenchError | None = None
        self.source = known_source(method)
        reader = source_of(type(dataset), base=Dataset)
        identity = make_identity(
            plan,
            method,
            data=data,
            reader=reader.sha256,
            distributions={**reader.distributions, **self.source.distributions},
            absent=absent_rule(plan),
            score_size=settings.score_size,
            device=torch.device(settings.device).type,
            shard=settings.shard,
        )
        manifest = RunManifest.of(identity, make_context(method, plan, pictures))
        self.identity = manifest.identity
        self.label = manifest.context.label
        self.path = settings.out / run_slug(manifest)
        self.writer = RunWriter(self.path, manifest, plan)
        self.planned = sum(1 for _ in _part(plan, settings))
        self.panels = Panels(self.path, small, len(plan), settings.panels)
        self._before = 0
        self._unproven = 0
        """Episodes stored since all bytes of the weights were last compared."""
        self._seconds = 0.0
        """Inputs included: an image is read, and its features computed, by the first method that needs it."""
        self._prediction_seconds = 0.0
        self._closed = False

    def __enter__(self) -> _Run:
        self.writer.__enter__()
        self._before = len(self.writer.done)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if self._computed and not self._closed and not isinstance(self.broken, RunFolderError):
                self.close()
        except FssbenchError:
            if kind is None:  # else an error is on its way already, and says more
                raise
        finally:
            try:
                self.panels.close()
            finally:
                self.writer.__exit__(kind, *rest)

    @property
    def _computed(self) -> int:
        return len(self.writer.done) - self._before

    def step(self, episode: Episode, inputs: Inputs) -> None:
        """Predict, count and store one episode."""
        started = time.monotonic()
        query, support, support_mask = inputs.of(self.method, episode)
        _finish_work_on(query, support)
        target = inputs.target(episode, original=self.settings.score_size == "original")
        received = time.monotonic()
        prediction = self._segment(episode, query, support, support_mask, target)
        predicted = time.monotonic()
        inter, union = count(prediction, target.foreground, target.ignored)
        ended = time.monotonic()  # before the pictures for reports
        self._seconds += ended - started
        self._prediction_seconds += predicted - received
        if self._prove(self.guard.check_episode):
            self._unproven = 0
        if self.panels.wanted(episode.index):
            self.panels.save(episode, prediction, target)
        self.writer.append(
            Record(
                episode.index,
                episode.class_id,
                (int(inter[0]), int(inter[1])),
                (int(union[0]), int(union[1])),
                target.pixels,
                inputs.doubts(episode),
            )
        )
        self._unproven += 1

    def _prove(self, check: Callable[[], T]) -> T:
        """Compare the weights.  If they changed, remove the episodes counted since they were last known to be right."""
        try:
            return check()
        except PluginError as error:
            self.writer.take_back(self._unproven)
            self._unproven = 0
            raise PluginError(f"{self.path.name}: {error}") from error

    def _segment(
        self, episode: Episode, query: Any, support: Any, support_mask: Tensor, target: Target
    ) -> Any:
        """Return the mask (H, W) of the method as a bool array.  Any other result is an error of the plugin."""
        name = self.method.card.name
        where = f"method {name!r}, episode {episode.index} ({self.plan.benchmark}, fold {self.plan.fold})"
        size = target.foreground.shape
        given = _tensors(query, support, support_mask)
        versions = [t._version for t in given]
        seed = zlib.crc32(f"{self.plan.seed}/{episode.index}".encode())
        options: dict[str, Any] = {"seed": seed} if self.method.steps else {}
        try:
            # errors of our own become errors of this method too: the other methods go on
            with plugin_call(f"{where}: raised", inside=where, smaller="--size or --cache-mb"):
                with execution.observed() as observed, isolated(seed):
                    mask = self.method.segment(query, support, support_mask, size=size, **options)
                if observed:
                    self.source.check(observed)
        finally:
            drop_aliases()
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or tuple(mask.shape) != (1, *size):
            got = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
            raise PluginError(
                f"{where}: segment returned {got}, expected torch.bool (1, {size[0]}, {size[1]})"
            )
        if versions != [t._version for t in given]:
            raise PluginError(f"{where}: changed its input in place; clone before writing")
        return mask[0].cpu().numpy()

    def _note_session(self) -> None:
        """Record what this process did, or that all episodes were stored already and the data are unchanged."""
        if self._computed:
            spent = {
                "seconds": round(self._seconds, 3),
                "prediction_seconds": round(self._prediction_seconds, 6),
            }
        elif any(session.get("command") == COMMAND for session in read_sessions(self.path)):
            return
        else:
            spent = {"seconds": 0.0}
        self.writer.session({"episodes": self._computed, **spent, "command": COMMAND})

    def close(self) -> Evaluation:
        """Compare the folder with what was computed, write the summary and return the result.

        Raises:
            DataError: if the folder is damaged or cannot be written.
            RunFolderError: if somebody else changed the folder; what was computed is kept.
        """
        self._closed = True
        if self._computed:
            try:
                self._prove(self.guard.check_all)
            except PluginError:
                if self.broken is None:  # else it is known why this method stopped
                    raise
        self.writer.settle()
        self._note_session()
        score = summarise(self.path)
        if score.episodes != len(self.writer.done):
            raise RunFolderError(
                f"{self.path} holds {score.episodes} episodes, but {len(self.writer.done)} were counted. "
                "Next: run the same command again"
            )
        self.writer.report_losses()
        return Evaluation(self.path, self.identity, score, self.planned, self._computed)


def _tensors(*inputs: Any) -> list[Tensor]:
    """List all tensors of some inputs, each of which is a tensor or a dictionary of tensors."""
    tensors: list[Tensor] = []
    for given in inputs:
        tensors.extend([given] if isinstance(given, Tensor) else given.values())
    return tensors


def _finish_work_on(*inputs: Any) -> None:
    """Wait until the device has computed the inputs.  Otherwise its work would count as time of the prediction."""
    for tensor in _tensors(*inputs):
        if tensor.device.type != "cpu":
            torch.accelerator.synchronize(tensor.device)
            return
