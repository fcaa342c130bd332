"""Episodic training of any method that has a recipe: one process, or many under `torchrun`.

A training is a pure function of its facts (method, data, recipe, seed): every step draws its episodes
and seeds its generators by its number, so that a process killed at any point and started again goes
on from the last stored state to the same weights, on a CPU to the bit.

    OUT/state.safetensors       weights, optimiser, progress; replaced as a whole
    OUT/curve.csv, curve.png    loss, rate and validation by step
    OUT/checkpoint.safetensors  what `fssbench run --checkpoint` takes: the best by validation, or the last
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from filelock import FileLock, Timeout

from fssbench import __version__
from fssbench.contracts.benchmarks import name_stream
from fssbench.contracts.checkpoint import TrainingManifest
from fssbench.contracts.marks import Mark
from fssbench.contracts.methods import Method
from fssbench.data.data_files import hash_item_files
from fssbench.data.location import open_dataset
from fssbench.data.picture_names import name_pictures
from fssbench.episodes.sampling import plan
from fssbench.errors import DataError, FssbenchError, LockedError, PluginError, UsageError
from fssbench.evaluation.feature_cache import FeatureCache
from fssbench.evaluation.inputs import Inputs
from fssbench.evaluation.isolation import generators_kept
from fssbench.files.canonical_json import digest
from fssbench.files.secrets import hide_settings
from fssbench.files.writable import require_writable
from fssbench.images.judgements import DOUBTS
from fssbench.loading import checkpoints
from fssbench.loading.contamination import SELECTED_ON_TEST, make_content_ids, make_image_ids
from fssbench.plugins.calls import plugin_call
from fssbench.plural import describe_count, join_some
from fssbench.runs.marks import make_counted_marks
from fssbench.training.average import Average
from fssbench.training.batch import Batch
from fssbench.training.batches import Batches
from fssbench.training.curves import Curve, Point, draw_curve, read_curve
from fssbench.training.episodes import STREAM, EpisodeStream, collect_training_set, draw_validation_episodes
from fssbench.training.feature_cache_on_disk import StoredFeatures
from fssbench.training.loss import Loss
from fssbench.training.optimizers import make_optimizer, set_rates
from fssbench.training.outcome import Progress, Trained
from fssbench.training.processes import Workers, join_workers, skip_averaging
from fssbench.training.settings import (
    Settings,
    choose_mixed_precision,
    make_effective_recipe,
    require_recipe,
)
from fssbench.training.shared_batch_norm import share_norms
from fssbench.training.stages import (
    join_marks,
    list_seen_pictures,
    list_stage_facts,
    load_start,
    require_start,
)
from fssbench.training.state import STATE, Reached, list_learnable, list_statistics, load_state, save_state
from fssbench.training.validation import SMALLER, Validation

CHECKPOINT = "checkpoint.safetensors"
CURVE = "curve.csv"
PICTURE = "curve.png"
HELD_OUT_IMAGES = "held-out training images"
LAST_STEP = "last step"


def train(
    method: Method,
    settings: Settings,
    *,
    tell: Callable[[str], None] = lambda _: None,
    watch: Callable[[Progress], None] = lambda _: None,
) -> Trained:
    """Train a method; the same call again resumes.

    Args:
        method: from `fssbench.load_method`, with weights from the seed.
        settings: training data, length and output folder.
        tell: called with one line of text per stage, for the log.
        watch: called after each step.

    Returns:
        The checkpoint and its validation score.

    Raises:
        UsageError: for a method without a recipe, or a folder that holds another training.
        DataError: for missing data, too few images, a class without pixels, a full disk, or a loss
            that is no longer finite; the last good state is kept.
        PluginError: if the method breaks its contract, naming step and episodes.
        LockedError: if another process trains into the same folder.
    """
    require_start(type(method), settings.stage, settings.start)
    if settings.stage is not None:
        method.begin_stage(settings.stage)
    where = next(method.parameters(), torch.empty(0)).device
    with generators_kept(), join_workers(str(where)) as world:
        require_writable(settings.out, "--out")
        lock = FileLock(settings.out / ".lock")
        try:
            with lock.acquire(timeout=0) if world.first else nullcontext():
                training = _Training(method.to(world.device), settings, world, tell)
                try:
                    return training.run(watch)
                finally:
                    training.inputs.close()
        except Timeout:
            raise LockedError(
                f"another process is writing a training to {settings.out}. Next: wait until it has ended, or choose "
                "another --out"
            ) from None


class _Training:
    """One prepared training: data, stream, optimiser, and the state from which it starts."""

    def __init__(
        self, method: Method, settings: Settings, world: Workers, tell: Callable[[str], None]
    ) -> None:
        self.method, self.settings, self.world, self.tell = method, settings, world, tell
        recipe = require_recipe(method)
        tell("reading data and lists")
        self.source = collect_training_set(
            settings.benchmark,
            fold=settings.fold,
            shot=settings.shot,
            data=settings.data,
            splits=settings.splits,
            without_novel=settings.without_novel,
        )
        self.start = load_start(method, settings.start, self.source)
        batch = settings.batch or max(1, recipe.batch // (settings.accumulate * world.size))
        effective = batch * settings.accumulate * world.size
        self.episodes_per_step = effective
        self.recipe = make_effective_recipe(recipe, settings, method, effective)
        self.steps = self.recipe.steps or -(-(self.recipe.epochs or 1) * self.source.pairs // effective)
        self.size = self.recipe.size or method.card.size
        self.amp = choose_mixed_precision(settings.amp, world.device)
        self.cache = self._cache()
        # the images of features on disk are not read
        workers = settings.workers if settings.feature_cache is None else 0
        self.inputs = inputs = Inputs(
            self.source.dataset, self.size, world.device, self.cache, workers=workers
        )
        name = f"{settings.seed}|{name_stream(self.source.benchmark)}|{settings.fold}"
        stream = EpisodeStream(
            self.source.training, settings.shot, name, draw=settings.draw, invert=settings.invert
        )
        self.batches = Batches(method, self.source, inputs, stream, batch, settings.accumulate, world)
        self.validation, self.selection = self._choose_validation(inputs)
        self.every = settings.val_every or max(1, self.steps // 20)
        self.parameters = list(list_learnable(method).values())
        self.optimizer = make_optimizer(self.recipe, method)
        self.average = Average(method, settings.average)
        if self.source.left_out:
            tell(
                f"{describe_count(self.source.left_out, 'image is', 'images are')} left out (test or validation images)"
            )
        tell(f"hashing {describe_count(len(self.source.items), 'image')}")
        self.data = hash_item_files(
            self.source.dataset, self.source.items, f"training for {settings.benchmark}"
        )
        self.facts = self._facts(effective)
        self.state = settings.out / STATE
        self.reached = (
            load_state(
                self.state, method, self.optimizer, self.facts.as_stored(), average=self.average.values
            )
            if self.state.is_file()
            else Reached()
        )
        self._cache_announced_up_to = self.reached.step
        self.statistics = list_statistics(method)
        self._before = [s.clone() for s in self.statistics]
        self._memory_before = method.training_memory()
        self._between_steps = True
        self._loss_of = world.wrap_loss(Loss(method, settings.iou_loss))

    def _cache(self) -> FeatureCache:
        budget, folder = self.settings.cache_mb << 20, self.settings.feature_cache
        if folder is None:
            return FeatureCache(budget)
        dataset = self.source.dataset
        limit = int(self.settings.cache_gb * 2**30)
        return StoredFeatures(
            budget, folder, limit, lambda item: hash_item_files(dataset, [item], item), self.world.device
        )

    def _choose_validation(self, inputs: Inputs) -> tuple[Validation | None, str]:
        settings = self.settings
        if settings.stage is not None and settings.select_on_test:
            raise UsageError(
                f"stage {settings.stage!r} segments no episodes, so --select-on-test selects nothing. "
                "Next: leave it out"
            )
        if settings.stage is not None:
            self.tell(f"stage {settings.stage!r} segments no episodes: no validation, the last step is kept")
        if settings.stage is not None or not settings.val_episodes:
            return None, LAST_STEP
        if not settings.select_on_test:
            episodes = draw_validation_episodes(self.source, settings.shot, settings.val_episodes)
            if not episodes:
                self.tell(
                    "there are too few images for a validation, so the weights of the last step are stored"
                )
                return None, LAST_STEP
            validation = Validation(self.method, inputs, episodes, self.world, self.source.classes)
            return validation, HELD_OUT_IMAGES
        drawn = plan(
            settings.benchmark,
            fold=settings.fold,
            shot=settings.shot,
            data=settings.data,
            splits=settings.splits,
            episodes=settings.val_episodes,
        )
        dataset = open_dataset(
            drawn.dataset, data=drawn.data, splits=drawn.splits, variant=drawn.dataset_variant
        )
        test_inputs = Inputs(dataset, self.size, self.world.device, self.cache)
        names = dict(zip(drawn.classes, drawn.class_names, strict=True))
        validation = Validation(self.method, test_inputs, drawn.episodes, self.world, names)
        return validation, SELECTED_ON_TEST

    def _facts(self, effective: int) -> TrainingManifest:
        """Collect the facts on which the weights depend; state and checkpoint contain them."""
        backbone, provenance = self.method.backbone, self.method.provenance
        return TrainingManifest(
            stream=STREAM,
            benchmark=self.source.benchmark,
            fold=self.settings.fold,
            shot=self.settings.shot,
            dataset=self.source.dataset.card.name,
            dataset_variant=self.source.dataset.variant,
            split=self.source.split,
            lists=self.source.lists,
            marks=join_marks(self.start, self.source.marks),
            data_sha256=self.data,
            classes=tuple(self.source.classes),
            class_names=tuple(self.source.classes.values()),
            images=len(self.source.items),
            steps_planned=self.steps,
            batch=effective,
            forwards=self.settings.accumulate * self.world.size,
            recipe=self.recipe.model_dump(mode="json", exclude_none=True),
            size=self.size,
            seed=self.settings.seed,
            average=self.settings.average or None,
            iou_loss=self.settings.iou_loss or None,
            draw=self.settings.draw,
            invert=self.settings.invert or None,
            without_novel=self.settings.without_novel,
            amp=self.amp,
            half_features=self.settings.feature_cache is not None,
            device=self.world.device.type,
            selection=self.selection,
            validation_episodes=len(self.validation.episodes) if self.validation else 0,
            validation_every=self.every if self.validation else 0,
            method=self.method.card.name,
            method_sha256=provenance.source_sha256,
            config=hide_settings(self.method.config.model_dump(mode="json")),
            backbone=backbone.name if backbone else None,
            layout=backbone.layout if backbone else None,
            weights=backbone.weights if backbone else None,
            weights_sha256=backbone.weights_sha256 if backbone else None,
            backbone_source_sha256=provenance.backbone_source_sha256,
            fssbench=__version__,
            **list_stage_facts(self.settings.stage, self.start),
        )

    def run(self, watch: Callable[[Progress], None]) -> Trained:
        """Train from the stored state to the last step."""
        before, out = self.reached.step, self.settings.out
        if before:
            self.tell(f"resuming after step {before} of {self.steps}")
        curve = Curve(out / CURVE, before) if self.world.first else None
        last = self.reached.best
        while self.reached.step < self.steps:
            self._expect()
            try:
                point, last = self._advance(last)
            except BaseException as error:
                self._store_after_failure(error)
                raise
            if curve is not None:
                curve.add(point)
            if self._due(point):
                self._save()
            watch(Progress(point.step, self.steps, point.loss, last))
        return self._finish(self.reached.step - before)

    def _advance(self, last: float | None) -> tuple[Point, float | None]:
        step = self.reached.step
        rate = set_rates(self.optimizer, self.recipe, step, self.steps)
        self._before = [s.clone() for s in self.statistics]
        self._memory_before = self.method.training_memory()
        loss = self._step(step)
        self.average.add(step + 1)
        miou = fb_iou = None
        if self._validates(step + 1):
            assert self.validation is not None
            with self.average.put_in_place():
                scored = self.validation.run()
            last, miou, fb_iou = scored.miou, scored.miou, scored.fb_iou
            if self.reached.best is None or miou > self.reached.best:
                self.reached.best, self.reached.best_step = miou, step + 1
                self._checkpoint(step + 1)
        self.reached.step, self._between_steps = step + 1, True
        return Point(step + 1, loss, rate, miou, fb_iou), last

    def _step(self, step: int) -> float:
        """Do one optimiser step and return the mean loss of its episodes."""
        self.method.train()
        self.optimizer.zero_grad(set_to_none=True)
        parts = self.settings.accumulate
        total, doubts = 0.0, Counter[str]()
        for part, batch in enumerate(self.batches.of(step, is_last=step + 1 == self.steps)):
            doubts.update(self.batches.doubts(batch))
            seed = zlib.crc32(f"{self.settings.seed}/{step}/{part}/{self.world.rank}".encode())
            with skip_averaging(self._loss_of) if part < parts - 1 else nullcontext():
                loss = self._loss(step, batch, seed)
                with self._method_call(step, batch):
                    (loss / parts).backward()
            total += float(loss.detach()) / parts
        grads = [p.grad for p in self.parameters if p.grad is not None]
        if not grads:
            raise PluginError(
                f"the loss of method {self.method.card.name!r} gives none of its weights a gradient. "
                f"Next: `fssbench check {self.method.card.name}`"
            )
        if not bool(torch.isfinite(torch.stack([g.sum() for g in grads])).all()):
            raise DataError(self._describe_divergence(step, "gradients", batch))
        self._between_steps = False
        self.optimizer.step()
        self.world.mean_buffers(self.statistics)
        self._add_doubts(doubts)
        return self.world.mean(total)

    def _add_doubts(self, doubts: Counter[str]) -> None:
        """Add the doubtful episodes of all processes in this step."""
        counts = self.world.total(torch.tensor([doubts[kind] for kind in DOUBTS]))
        for kind, count in zip(DOUBTS, counts.tolist(), strict=True):
            if count:
                self.reached.doubts[kind] = self.reached.doubts.get(kind, 0) + count

    def _doubt_marks(self, step: int) -> list[Mark]:
        """Return the marks of the checkpoint after `step` steps that count its doubtful training masks."""
        counts = Counter(self.reached.doubts)
        return make_counted_marks(counts, step * self.episodes_per_step, training=True)

    def _loss(self, step: int, batch: Batch, seed: int) -> torch.Tensor:
        torch.default_generator.manual_seed(seed)
        if self.world.device.type == "cuda":
            torch.cuda.manual_seed_all(seed)
        mixed = torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.amp)
        with self._method_call(step, batch):
            try:
                with mixed, share_norms(self.world):
                    loss = self._loss_of(batch)
            except PluginError as error:
                raise PluginError(
                    f"{self._name_step(step, batch)}: {error}. {self._say_how_to_go_on()}"
                ) from error
        if not isinstance(loss, torch.Tensor) or loss.ndim or not loss.requires_grad:
            got = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
            raise PluginError(
                f"{self._name_step(step, batch)}: `loss` returned {got}, but must return a scalar tensor with a "
                f"gradient. Next: `fssbench check {self.method.card.name}`"
            )
        if not bool(torch.isfinite(loss)):
            raise DataError(self._describe_divergence(step, f"the loss is {float(loss.detach())}", batch))
        return loss

    def _method_call(self, step: int, batch: Batch) -> AbstractContextManager[None]:
        """Return a context for calls of the method; its errors name the step, the episodes and the stored state."""
        return plugin_call(
            f"{self._name_step(step, batch)}: raised", hint=self._say_what_is_stored(), smaller=SMALLER
        )

    def _name_step(self, step: int, batch: Batch) -> str:
        names = [
            f"{e.index} (class {self.source.classes[e.class_id]}, query {e.query})" for e in batch.episodes
        ]
        return f"method {self.method.card.name!r}, step {step + 1}, episodes {join_some(names, 4)}"

    def _describe_divergence(self, step: int, what: str, batch: Batch) -> str:
        what = "the gradients are not finite" if what == "gradients" else what
        return f"{self._name_step(step, batch)}: {what}. {self._say_how_to_go_on()}"

    def _say_how_to_go_on(self) -> str:
        return (
            f"{self._say_what_is_stored()}. Next: choose a lower --lr (now {self.recipe.learning_rate}) and another "
            "--out"
        )

    def _say_what_is_stored(self) -> str:
        return f"The state after step {self.reached.step} is kept in {self.settings.out}"

    def _validates(self, step: int) -> bool:
        return self.validation is not None and (step % self.every == 0 or step == self.steps)

    def _due(self, point: Point) -> bool:
        ends = point.step == self.steps or point.step % self.settings.save_every == 0
        return ends or point.val_miou is not None

    def _expect(self) -> None:
        """Announce the next images, including validation images, to the feature cache."""
        ahead = self.batches.count_announced_steps(self.settings.shot)
        if self._cache_announced_up_to - self.reached.step > ahead // 2:
            return
        goal = min(self.steps, self.reached.step + ahead)
        while self._cache_announced_up_to < goal:
            block = min(self.steps, (self._cache_announced_up_to // self.every + 1) * self.every)
            self.batches.expect(self._cache_announced_up_to, block)
            if self.validation is not None and self._validates(block):
                self.validation.expect()
            self._cache_announced_up_to = block

    def _save(self) -> None:
        if self.world.first:
            self._store()
        self.world.wait()

    def _store(self) -> None:
        average = self.average.values
        save_state(
            self.state, self.method, self.optimizer, self.reached, self.facts.as_stored(), average=average
        )

    def _store_after_failure(self, error: BaseException) -> None:
        """Store the state from before the failed step.

        A forward pass only changes running statistics and the memory of the loss, and these are restored.  After the
        optimiser has started, the state on disk is the last consistent one and is kept.
        """
        if self._between_steps and self.world.first and isinstance(error, FssbenchError | KeyboardInterrupt):
            for now, before in zip(self.statistics, self._before, strict=True):
                now.copy_(before)
            self.method.restore_memory(self._memory_before)
            try:
                self._store()
            except DataError:
                self.tell("the state could not be stored again; the earlier state is kept")

    def _checkpoint(self, step: int) -> None:
        if not self.world.first:
            return
        pictures = name_pictures(self.source.dataset, self.source.items)
        manifest = self.facts.changed(
            marks=(*self.facts.marks, *self._doubt_marks(step)),
            steps=step,
            episodes=step * self.episodes_per_step,
            validation_miou=self.reached.best,
            training=digest(self.facts.as_stored()),
            **list_seen_pictures(
                self.start,
                make_image_ids(self.source.items),
                make_content_ids(name for names in pictures.values() for name in names),
            ),
        )
        with self.average.put_in_place():
            checkpoints.save(self.method, self.settings.out / CHECKPOINT, manifest, half=self.settings.half)

    def _finish(self, computed: int) -> Trained:
        out = self.settings.out
        if self.validation is None and computed:
            self._checkpoint(self.reached.step)
        self.world.wait()
        points = read_curve(out / CURVE)
        if self.world.first:
            title = f"{self.method.card.title}, {self.source.benchmark} fold {self.settings.fold}"
            for mark in self._doubt_marks(self.reached.step):
                self.tell(mark)
            draw_curve(points, out / PICTURE, f"{title}, {self.settings.shot}-shot")
        self.world.wait()  # all processes end together, because their connections do
        tail = [p.loss for p in points[-max(1, self.steps // 10) :]]
        self.method.eval()
        return Trained(
            checkpoint=out / CHECKPOINT,
            steps=self.steps,
            computed=computed,
            loss=sum(tail) / max(1, len(tail)),
            best=self.reached.best,
            best_step=self.reached.best_step,
            selection=self.selection,
            classes=len(self.source.classes),
            images=len(self.source.items),
        )
