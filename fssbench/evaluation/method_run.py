"""One method on one plan: predict, count and store an episode, and close the run folder."""

from __future__ import annotations

import time
import warnings
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from fssbench.benchmarks.catalogue import find_plan_benchmark
from fssbench.contracts.datasets import Dataset
from fssbench.contracts.episodes import Episode, Plan
from fssbench.contracts.precision import Precision
from fssbench.contracts.run_manifest import RunManifest
from fssbench.data.picture_names import Pictures
from fssbench.data.reader import Target
from fssbench.errors import FssbenchError, PluginError, RunFolderError
from fssbench.evaluation.buffers import Buffers
from fssbench.evaluation.given import Given
from fssbench.evaluation.inputs import Inputs
from fssbench.evaluation.inspected import InspectedEpisode
from fssbench.evaluation.isolated_method import IsolatedMethod, runs_apart
from fssbench.evaluation.kept_masks import KeptMasks
from fssbench.evaluation.lanes import Lanes, Taken
from fssbench.evaluation.method_call import EpisodeCall, finish_work_on, segment_episode
from fssbench.evaluation.pace import Pace
from fssbench.evaluation.repeated import TOLERANCE, Repeated
from fssbench.evaluation.replays import make_replays
from fssbench.evaluation.settings import Evaluation, Settings, select_part
from fssbench.evaluation.weights_guard import WeightsGuard
from fssbench.loading.load import find_method_source
from fssbench.metrics import count
from fssbench.plugins.calls import is_built_in
from fssbench.plugins.source_hash import collect_source
from fssbench.plural import describe_count
from fssbench.runs.identity import COMMAND, make_context, make_identity, make_run_slug
from fssbench.runs.masks import SavedMasks
from fssbench.runs.pictures import Panels, Thumbnails
from fssbench.runs.records import EpisodeRecord
from fssbench.runs.rounding_probes import make_unmeasured_marks
from fssbench.runs.sessions import Session, read_sessions
from fssbench.runs.summary import find_absent_rule, summarise
from fssbench.runs.support_sizes import read_support_sizes, write_support_sizes
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
        batch: int = 1,
    ) -> None:
        self.guard = guard
        self.method = method = guard.method
        self.plan = plan
        self.settings = settings
        self.batch = batch
        """Episodes that the method predicts together; more than 1 only in a `BatchedRun`."""
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
            precision=settings.precision,
            batch=batch,
            shard=settings.shard,
        )
        manifest = RunManifest.of(identity, make_context(method, plan, pictures))
        self.manifest = manifest
        self.identity = manifest.identity
        self.label = manifest.context.label
        self.path = settings.out / make_run_slug(manifest)
        self.writer = RunWriter(self.path, manifest, plan)
        self.planned = len(select_part(plan, settings))
        self.panels = Panels(self.path, small, len(plan), settings.panels)
        self.masks = SavedMasks(self.path) if settings.save_masks else None
        self.marks = manifest.context.marks
        self._class_names = dict(zip(plan.classes, plan.class_names, strict=True))
        self._before = 0
        self._unproven = 0
        """Episodes stored since all bytes of the weights were last compared."""
        self.pace = Pace()
        self.repeated = Repeated((), 0)
        self.answers = KeptMasks(())
        """Masks of the episodes that are asked again after the others."""
        self._left: set[int] = set()
        """Indices of the episodes that this process has still to compute."""
        self._withheld: EpisodeRecord | None = None
        """The last episode, which is stored when the repeated ones gave the same masks."""
        self._closed = False
        self.evaluation: Evaluation | None = None
        """The result, when the folder is written."""
        apart = runs_apart(method, settings)
        self.apart = IsolatedMethod(guard, self.source, settings.episode_timeout) if apart else None
        """The process of the method; None if it runs in this one."""
        self._sent: Given | None = None
        """The episode that the process computes now."""
        # masks of one size, because each size needs a recording of its own
        usual = settings.replay and self.score_size == "input" and settings.inspect is None and batch == 1
        device = torch.device(settings.device)
        replays = make_replays(method, device, settings.precision) if usual else None
        self.lanes = None if replays is None else Lanes(replays, device, settings.cache_mb << 20)
        """Episodes that a CUDA device computes by replays; None if each call launches its work anew."""

    def __enter__(self) -> MethodRun:
        self.writer.__enter__()
        self._before = len(self.writer.done)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if self.apart is not None and self.broken is None:
                self.apart.let_finish()
            if self._computed and not self._closed and not isinstance(self.broken, RunFolderError):
                self.close()
        except FssbenchError:
            if kind is None:  # else an error is on its way already, and says more
                raise
        finally:
            with ExitStack() as stack:
                stack.callback(self.writer.__exit__, kind, *rest)
                stack.callback(self.panels.close)
                self.lanes = None
                if self.apart is not None:
                    stack.callback(self.apart.close)
                if self.masks is not None:
                    stack.callback(self.masks.close)

    @property
    def is_active(self) -> bool:
        """Whether the method goes on to the next episode."""
        return self.broken is None and not self.deferred

    def lacks(self, index: int) -> bool:
        """Return whether an episode must be computed: it is not counted, or its mask is wanted and not stored."""
        return index not in self.writer.done or (self.masks is not None and not self.masks.holds(index))

    def count_done(self) -> int:
        """Count the episodes that are counted, the last one included."""
        return len(self.writer.done) + (self._withheld is not None)

    @property
    def _computed(self) -> int:
        return len(self.writer.done) - self._before

    def plan_repetitions(self, episodes: Sequence[Episode]) -> None:
        """Choose which of the episodes that this method will compute are computed again at the end.

        Built-in methods repeat none: the tests of fssbench show that they keep no state.
        """
        apart = self.settings.inspect is not None or is_built_in(self.method)
        self._left = {episode.index for episode in episodes} - self.writer.done.keys()
        self.repeated = Repeated(episodes, 0 if apart else self.settings.repeated)

    def step(self, episode: Episode, inputs: Inputs) -> None:
        """Predict, count and store one episode.

        A device that replays recorded work computes it while this process stores those before.
        """
        taken = self.lanes.take() if self.lanes is not None and self.lanes.is_full else None
        try:
            given = self.receive(episode, inputs, None if self.lanes is None else self.lanes.buffers)
        except FssbenchError:
            self.settle(inputs, taken)  # what was computed before is right
            raise
        launched = self.lanes is not None and self.lanes.launch(given)
        if taken is not None:
            self._store_taken(taken, inputs)
        if launched:
            return
        self.settle(inputs)
        prediction, seconds = self.predict(given)
        if self.lanes is not None:
            self.lanes.learn(given, prediction, len(self._left))
        self.store(given, prediction, seconds, inputs, self.guard.check_episode)

    def settle(self, inputs: Inputs, taken: Taken | None = None) -> None:
        """Count and store an episode that was taken from the device, and those that it computes."""
        if taken is not None:
            self._store_taken(taken, inputs)
        while self.lanes:
            self._store_taken(self.lanes.take(), inputs)

    def _store_taken(self, taken: Taken, inputs: Inputs) -> None:
        given, answer = taken
        inputs.confirm(self.method, given.begun)
        if answer is None:  # the call itself tells whether its logits are finite
            given = self.receive(given.episode, inputs)
            answer = self.predict(given)
        self.store(given, *answer, inputs, self.guard.check_episode)

    def repeat(self, episode: Episode, inputs: Inputs) -> None:
        """Compute an episode again and compare its mask with that of the first time."""
        given = self.receive(episode, inputs)
        self.compare(given, self.predict(given)[0])

    def send(self, episode: Episode, inputs: Inputs, *, repeated: bool) -> None:
        """Give an episode to the process of the method."""
        assert self.apart is not None  # only the methods that have one are called so
        self._sent = given = self.receive(episode, inputs, self.apart.buffers)
        self.apart.send(given.tensors, self.describe_call(given), repeated=repeated)

    def take(self, inputs: Inputs, *, repeated: bool) -> None:
        """Take the answer of that process, and count and store it, or compare it with that of the first time."""
        assert self.apart is not None
        assert self._sent is not None
        given, self._sent = self._sent, None
        answer = self.apart.receive()
        if repeated:
            self.compare(given, answer.mask)
        else:
            self.store(given, answer.mask, answer.seconds, inputs, answer.check)

    def receive(self, episode: Episode, inputs: Inputs, buffers: Buffers | None = None) -> Given:
        """Collect what the method receives of an episode, and the truth that it is scored against.

        Args:
            episode: the episode.
            inputs: the source of the episode.
            buffers: memory for what the method receives; that of `inputs` by default.
        """
        started = time.monotonic()
        waits = self.lanes is None or not self.lanes.is_ready
        query, support, support_mask = inputs.of(self.method, episode, buffers, confirmed=waits)
        if waits:
            finish_work_on(query, support)
        target = inputs.target(episode, original=self.score_size == "original")
        seconds = time.monotonic() - started
        begun = inputs.count_begun(self.method)
        return Given(episode, query, support, support_mask, target, seconds, self.settings.precision, begun)

    def predict(self, given: Given) -> tuple[NDArray[np.bool_], float]:
        """Predict an episode in this process; return the mask (H, W) and the time in seconds."""
        started = time.monotonic()
        prediction = segment_episode(
            self.method, given.tensors, self.describe_call(given), source=self.source
        )
        return prediction, time.monotonic() - started

    def describe_call(self, given: Given) -> EpisodeCall:
        """Describe the call that predicts an episode: all that the method is told beside tensors."""
        episode, plan = given.episode, self.plan
        return EpisodeCall(
            where=f"method {self.method.card.name!r}, episode {episode.index} ({plan.benchmark}, fold {plan.fold})",
            size=given.size,
            seed=self._seed_of(episode),
            class_name=self._class_names[episode.class_id],
            precision=given.precision,
        )

    def store(
        self,
        given: Given,
        prediction: NDArray[np.bool_],
        seconds: float,
        inputs: Inputs,
        check: Callable[[], bool],
    ) -> None:
        """Count and store a prediction.

        Args:
            given: the episode.
            prediction: the mask (H, W).
            seconds: time of the prediction.
            inputs: the source of the episode.
            check: compares the weights; returns whether it compared every byte.
        """
        started, episode, target = time.monotonic(), given.episode, given.target
        counts = count(prediction, target.foreground, target.ignored)
        inter, union = ((int(each[0]), int(each[1])) for each in counts)
        counted = time.monotonic() - started  # without the pictures for reports
        self.pace.add(given.seconds + seconds + counted, seconds)
        if self.settings.inspect is not None:
            self.settings.inspect(self._describe_episode(given, prediction, inter, union, inputs))
        if self._prove(check):
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
        self._left.discard(episode.index)
        withheld = not self._left and bool(self.repeated.episodes)  # a run is complete after its repetitions
        self.writer.restore(record if stored is None and not withheld else None)
        if self.masks is not None:
            self.masks.save(episode, prediction)
        self.repeated.keep(episode.index, prediction)
        self.answers.keep(episode.index, prediction)
        if stored is None:
            if self.panels.wanted(episode.index):
                self.panels.save(episode, prediction, target)
            if withheld:
                self._withheld = record
            else:
                self._append(record)

    def _append(self, record: EpisodeRecord) -> None:
        self.writer.append(record)
        self._unproven += 1

    def compare(self, given: Given, prediction: NDArray[np.bool_]) -> None:
        """Compare the mask of a repeated episode with that of the first time.

        Raises:
            PluginError: if it differs; the episodes that this process has stored are removed.
        """
        differing = self.repeated.count_differing(given.episode.index, prediction)
        if not differing:
            return
        name = f"method {self.method.card.name!r}, episode {given.episode.index}"
        text = f"{name}: computed again after the others, {differing} of {prediction.size} pixels differ"
        if self.settings.device != "cpu" and differing <= TOLERANCE * prediction.size:
            warnings.warn(f"{text}, as operators of {self.settings.device} may cause", stacklevel=2)
            return
        computed = self.count_done() - self._before
        self._withheld = None
        self.writer.take_back(self._computed)
        raise PluginError(
            f"{text}. So the method keeps state from episode to episode, or draws random numbers that are not seeded, "
            "and its figures would depend on the order of the episodes. What this command computed "
            f"({describe_count(computed, 'episode')}) is not stored. Next: run fssbench check on the plugin; "
            "keep nothing on `self` while predicting, and use the global generators or the `generator` of `adapt`"
        )

    def finish(self) -> None:
        """Store the last episode, after the repeated ones gave the same masks, and write the summary."""
        if self._withheld is not None:
            self._append(self._withheld)
            self._withheld = None
        exact = self.settings.precision == "float32" and self.batch == 1
        if exact and not self.settings.sensitivity:  # else more predictions follow
            self.close()

    def predict_mask(
        self,
        episode: Episode,
        inputs: Inputs,
        target: Target,
        *,
        named: int | None = None,
        inverted: bool = False,
        precision: Precision | None = None,
    ) -> NDArray[np.bool_]:
        """Predict the mask (H, W) of an episode and count nothing.

        Args:
            episode: the episode, or one of the plan with other supports.
            inputs: the source of the episode.
            target: the truth; only its size is read.
            named: class whose name the method is told; that of the episode by default.
            inverted: whether the masks of the supports are inverted.
            precision: of the prediction; that of the run by default.
        """
        buffers = self.apart.buffers if self.apart is not None else None
        query, support, mask = inputs.of(self.method, episode, buffers)
        told = episode if named is None else replace(episode, class_id=named)
        if inverted:
            mask.copy_(1 - mask)  # where it is, because the process of the method reads it there
        given = Given(told, query, support, mask, target, 0.0, precision or self.settings.precision)
        if self.apart is None:
            return self.predict(given)[0]
        self.apart.send(given.tensors, self.describe_call(given), repeated=True)
        return self.apart.receive().mask

    def record_support_sizes(self, inputs: Inputs) -> None:
        """Record the sizes of the objects of the supports of all counted episodes, if any was counted now.

        Raises:
            DataError: if they cannot be written.
        """
        if not self._computed:
            return
        sizes = read_support_sizes(self.path)
        for index in sorted(self.writer.done):
            episode = self.plan[index]
            for item in episode.supports:
                place = episode.class_id, item
                if place not in sizes:
                    sizes[place] = inputs.count_object_pixels(item, episode.class_id)
        write_support_sizes(self.path, sizes)

    def _describe_episode(
        self,
        given: Given,
        prediction: NDArray[np.bool_],
        inter: tuple[int, int],
        union: tuple[int, int],
        inputs: Inputs,
    ) -> InspectedEpisode:
        """Collect what an inspection sees of an episode."""
        return InspectedEpisode(
            path=self.path,
            label=self.label,
            marks=(*self.marks, *make_unmeasured_marks(self.manifest.block)),
            method=self.method,
            source=self.source,
            plan=self.plan,
            episode=given.episode,
            reader=inputs.reader,
            seed=self._seed_of(given.episode),
            precision=given.precision,
            query=given.query,
            support=given.support,
            support_mask=given.support_mask,
            prediction=prediction,
            target=given.target,
            inter=inter,
            union=union,
        )

    def _prove(self, check: Callable[[], T]) -> T:
        """Compare the weights.  If they changed, remove the episodes counted since they were last known to be right."""
        try:
            return check()
        except PluginError as error:
            self.writer.take_back(self._unproven)
            self._unproven = 0
            raise PluginError(f"{self.path.name}: {error}") from error

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
        if self.evaluation is not None:
            return self.evaluation
        self._closed = True
        if self._computed:
            try:
                self._prove(self.apart.check_all if self.apart is not None else self.guard.check_all)
            except PluginError:
                if self.broken is None:  # else it is known why this method stopped
                    raise
        self.writer.settle()
        self.writer.sort_records()
        self._note_session()
        score = summarise(self.path)
        if score.episodes != len(self.writer.done):
            raise RunFolderError(
                f"{self.path} holds {describe_count(score.episodes, 'episode')}, but {len(self.writer.done)} "
                "were counted. Next: run the same command again"
            )
        self.writer.report_losses()
        self.evaluation = Evaluation(self.path, self.identity, score, self.planned, self._computed)
        return self.evaluation
