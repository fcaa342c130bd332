"""One method on one plan: predict, count and store an episode, and close the run folder."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

import torch
from torch import Tensor

from fssbench.benchmarks.catalogue import find_plan_benchmark
from fssbench.contracts.datasets import Dataset
from fssbench.contracts.episodes import Episode, Plan
from fssbench.contracts.prediction import tell_class_names
from fssbench.contracts.run_manifest import RunManifest
from fssbench.data.picture_names import Pictures
from fssbench.data.reader import Target
from fssbench.errors import FssbenchError, PluginError, RunFolderError
from fssbench.evaluation.inputs import Inputs
from fssbench.evaluation.inspected import InspectedEpisode
from fssbench.evaluation.method_call import call_method, finish_work_on
from fssbench.evaluation.pace import Pace
from fssbench.evaluation.settings import Evaluation, Settings, select_part
from fssbench.evaluation.weights_guard import WeightsGuard
from fssbench.loading.load import find_method_source
from fssbench.metrics import count
from fssbench.plugins.source_hash import collect_source
from fssbench.runs.identity import COMMAND, make_context, make_identity, make_run_slug
from fssbench.runs.masks import SavedMasks
from fssbench.runs.pictures import Panels, Thumbnails
from fssbench.runs.sessions import Session, read_sessions
from fssbench.runs.store import EpisodeRecord
from fssbench.runs.summary import find_absent_rule, summarise
from fssbench.runs.writer import RunWriter

T = TypeVar("T")


class MethodRun:
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
        self.score_size = settings.score_size or find_plan_benchmark(plan).benchmark.score_size
        self.broken: FssbenchError | None = None
        """Why the method stopped, if it broke its contract."""
        self.deferred = False
        """Whether the method stopped so that the others need not wait for it."""
        self.source = find_method_source(method)
        reader = collect_source(type(dataset), base=Dataset)
        identity = make_identity(
            plan,
            method,
            data=data,
            reader=reader.sha256,
            distributions={**reader.distributions, **self.source.distributions},
            absent=find_absent_rule(plan),
            score_size=self.score_size,
            device=torch.device(settings.device).type,
            shard=settings.shard,
        )
        manifest = RunManifest.of(identity, make_context(method, plan, pictures))
        self.identity = manifest.identity
        self.label = manifest.context.label
        self.path = settings.out / make_run_slug(manifest)
        self.writer = RunWriter(self.path, manifest, plan)
        self.planned = len(select_part(plan, settings))
        self.panels = Panels(self.path, small, len(plan), settings.panels)
        self.masks = SavedMasks(self.path) if settings.save_masks else None
        self.marks = manifest.context.marks
        self._before = 0
        self._unproven = 0
        """Episodes stored since all bytes of the weights were last compared."""
        self.pace = Pace()
        self._closed = False

    def __enter__(self) -> MethodRun:
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
            with ExitStack() as stack:
                stack.callback(self.writer.__exit__, kind, *rest)
                stack.callback(self.panels.close)
                if self.masks is not None:
                    stack.callback(self.masks.close)

    @property
    def is_active(self) -> bool:
        """Whether the method goes on to the next episode."""
        return self.broken is None and not self.deferred

    def lacks(self, index: int) -> bool:
        """Whether an episode must be computed: it is not counted, or its mask is wanted and not stored."""
        return index not in self.writer.done or (self.masks is not None and not self.masks.holds(index))

    @property
    def _computed(self) -> int:
        return len(self.writer.done) - self._before

    def step(self, episode: Episode, inputs: Inputs) -> None:
        """Predict, count and store one episode."""
        started = time.monotonic()
        query, support, support_mask = inputs.of(self.method, episode)
        finish_work_on(query, support)
        target = inputs.target(episode, original=self.score_size == "original")
        received = time.monotonic()
        prediction = self._segment(episode, query, support, support_mask, target)
        predicted = time.monotonic()
        counts = count(prediction, target.foreground, target.ignored)
        inter, union = ((int(each[0]), int(each[1])) for each in counts)
        ended = time.monotonic()  # before the pictures for reports
        self.pace.add(ended - started, predicted - received)
        if self.settings.inspect is not None:
            self.settings.inspect(
                self._describe_episode(
                    episode,
                    inputs,
                    query=query,
                    support=support,
                    support_mask=support_mask,
                    prediction=prediction,
                    target=target,
                    inter=inter,
                    union=union,
                )
            )
        if self._prove(self.guard.check_episode):
            self._unproven = 0
        record = EpisodeRecord(
            episode.index, episode.class_id, inter, union, target.pixels, inputs.doubts(episode)
        )
        stored = self.writer.done.get(episode.index)
        if stored not in (None, record):
            raise RunFolderError(
                f"{self.path.name}: episode {episode.index} is counted otherwise now than in the stored run, "
                "perhaps because that was made on another machine. Its mask would not belong to the "
                "counts. Next: choose another --out"
            )
        if self.masks is not None:
            self.masks.save(episode, prediction)
        if stored is None:
            if self.panels.wanted(episode.index):
                self.panels.save(episode, prediction, target)
            self.writer.append(record)
            self._unproven += 1

    def _describe_episode(self, episode: Episode, inputs: Inputs, **seen: Any) -> InspectedEpisode:
        """Collect what an inspection sees of an episode."""
        return InspectedEpisode(
            path=self.path,
            label=self.label,
            marks=self.marks,
            method=self.method,
            source=self.source,
            plan=self.plan,
            episode=episode,
            reader=inputs.reader,
            seed=self._seed_of(episode),
            **seen,
        )

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
        seed = self._seed_of(episode)
        names = dict(zip(self.plan.classes, self.plan.class_names, strict=True))
        options: dict[str, Any] = tell_class_names(self.method, (names[episode.class_id],))
        if self.method.steps:
            options["seed"] = seed
        mask = call_method(
            lambda: self.method.segment(query, support, support_mask, size=size, **options),
            where=where,
            inputs=(query, support, support_mask),
            source=self.source,
            seed=seed,
            smaller="--size or --cache-mb",
        )
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or tuple(mask.shape) != (1, *size):
            got = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
            raise PluginError(
                f"{where}: segment returned {got}, expected torch.bool (1, {size[0]}, {size[1]})"
            )
        return mask[0].cpu().numpy()

    def _seed_of(self, episode: Episode) -> int:
        """Return the seed of the random generators during the prediction of an episode."""
        return zlib.crc32(f"{self.plan.seed}/{episode.index}".encode())

    def _note_session(self) -> None:
        """Record what this process did, or that all episodes were stored already and the data are unchanged."""
        if self._computed:
            session = Session(
                episodes=self._computed,
                seconds=round(self.pace.seconds, 3),
                prediction_seconds=round(self.pace.prediction_seconds, 6),
                command=COMMAND,
            )
        elif any(session.command == COMMAND for session in read_sessions(self.path)):
            return
        else:
            session = Session(episodes=0, seconds=0.0, command=COMMAND)
        self.writer.record_session(session)

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
        self.writer.sort_records()
        self._note_session()
        score = summarise(self.path)
        if score.episodes != len(self.writer.done):
            raise RunFolderError(
                f"{self.path} holds {score.episodes} episodes, but {len(self.writer.done)} were counted. "
                "Next: run the same command again"
            )
        self.writer.report_losses()
        return Evaluation(self.path, self.identity, score, self.planned, self._computed)
