"""One method on one plan with `--batch N`: N episodes are predicted in one call, and counted and stored one by one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fssbench.contracts.datasets import Dataset
from fssbench.contracts.episodes import Episode, Plan
from fssbench.contracts.precision import Precision
from fssbench.contracts.prediction import select_episodes
from fssbench.data.picture_names import Pictures
from fssbench.data.reader import Target
from fssbench.errors import PluginError
from fssbench.evaluation.batches import select_batch
from fssbench.evaluation.given import Given
from fssbench.evaluation.inputs import Inputs
from fssbench.evaluation.method_call import finish_work_on, segment_episodes
from fssbench.evaluation.method_run import MethodRun
from fssbench.evaluation.settings import Settings
from fssbench.evaluation.stacked_inputs import StackedInputs
from fssbench.evaluation.weights_guard import WeightsGuard
from fssbench.plugins.calls import is_out_of_memory
from fssbench.runs.pictures import Thumbnails

_SMALLER = "--batch, --size or --cache-mb"
_KEPT = 2
"""Batches whose masks are kept: of the same episodes in both precisions, or with both kinds of supports.  The first
kind is predicted again only in a run that another process has stored."""


@dataclass(frozen=True)
class _Question:
    """Question to a method about one episode."""

    episode: Episode
    named: int | None = None
    """Class whose name the method is told; None for that of the episode."""
    inverted: bool = False
    """Whether the masks of the supports are inverted."""


@dataclass(frozen=True)
class _Answer:
    """Answer of the method to a question."""

    given: Given
    mask: NDArray[np.bool_]
    """(H, W)"""
    seconds: float
    """Its share of the time of the prediction."""


class BatchedRun(MethodRun):
    """A run whose episodes are predicted in the batches of the plan (`fssbench.evaluation.batches`)."""

    def __init__(
        self,
        guard: WeightsGuard,
        plan: Plan,
        dataset: Dataset,
        settings: Settings,
        data: str,
        small: Thumbnails,
        pictures: Pictures,
        batch: int,
    ) -> None:
        super().__init__(guard, plan, dataset, settings, data, small, pictures, batch)
        self._stack = StackedInputs(batch)
        self._wanted: set[int] = set()
        """Indices of the episodes that this process is to store."""
        self._predicted: set[int] = set()
        """Indices of those that it has stored, or withholds until the repeated episodes gave the same masks."""
        self._kept: dict[object, dict[int, NDArray[np.bool_]]] = {}
        """Masks of the last batches that were asked for outside the score."""

    def plan_repetitions(self, episodes: Sequence[Episode]) -> None:
        """Choose which episodes are computed again at the end, and note which are to be stored."""
        super().plan_repetitions(episodes)
        self._wanted = {episode.index for episode in episodes}

    def lacks(self, index: int) -> bool:
        """Return whether an episode must be computed: neither an earlier run nor a batch of this process has it."""
        return index not in self._predicted and super().lacks(index)

    def step(self, episode: Episode, inputs: Inputs) -> None:
        """Predict the batch of an episode; count and store its episodes that the run lacks."""
        questions = [_Question(each) for each in self._select(episode)]
        answers = self._ask(questions, inputs, self.settings.precision)
        check = self.guard.check_episode
        for answer in answers:
            index = answer.given.episode.index
            if index not in self._wanted or not self.lacks(index):
                continue  # it is stored already, or belongs to another shard
            self.store(answer.given, answer.mask, answer.seconds, inputs, check)
            self._predicted.add(index)
            check = _find_nothing

    def repeat(self, episode: Episode, inputs: Inputs) -> None:
        """Compute the batch of an episode again and compare the mask of the episode with that of the first time."""
        questions = [_Question(each) for each in self._select(episode)]
        answers = self._ask(questions, inputs, self.settings.precision)
        (answer,) = (each for each in answers if each.given.episode.index == episode.index)
        self.compare(answer.given, answer.mask)

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
        """Predict the mask (H, W) of an episode among its neighbours and count nothing.  Arguments as in `MethodRun`.

        The masks of the last batches are kept, so the episodes of one batch cost one prediction.
        """
        mates = self._select(episode)
        asked = _Question(episode, named, inverted)
        questions = [asked if each.index == episode.index else _Question(each) for each in mates]
        key = tuple(questions), id(inputs), precision
        if key not in self._kept:
            answers = self._ask(questions, inputs, precision or self.settings.precision)
            while len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = {each.given.episode.index: each.mask for each in answers}
        return self._kept[key][episode.index]

    def predict_mask_alone(self, episode: Episode, inputs: Inputs, target: Target) -> NDArray[np.bool_]:
        """Predict the mask (H, W) of an episode at batch 1 and count nothing."""
        return super().predict_mask(episode, inputs, target)

    def _select(self, episode: Episode) -> tuple[Episode, ...]:
        return select_batch(self.plan, episode.index, self.batch)

    def _ask(self, questions: Sequence[_Question], inputs: Inputs, precision: Precision) -> list[_Answer]:
        """Predict the episodes of one batch; those whose masks have different sizes in several calls."""
        targets = [inputs.target(each.episode, original=self.score_size == "original") for each in questions]
        sizes = [target.foreground.shape for target in targets]
        answers: list[_Answer] = []
        for size in dict.fromkeys(sizes):
            same = [place for place, other in enumerate(sizes) if other == size]
            answers += self._predict_together(
                [questions[place] for place in same], [targets[place] for place in same], inputs, precision
            )
        return sorted(answers, key=lambda answer: answer.given.episode.index)

    def _predict_together(
        self,
        questions: Sequence[_Question],
        targets: Sequence[Target],
        inputs: Inputs,
        precision: Precision,
    ) -> list[_Answer]:
        """Predict episodes whose masks have one size in one call."""
        started = time.monotonic()
        place = self._name_place(questions)
        tensors = self._collect(questions, inputs, place)
        finish_work_on(*tensors[:2])
        waited = (time.monotonic() - started) / len(questions)
        givens = [
            self._give(question, target, _select_one(tensors, b), waited, precision)
            for b, (question, target) in enumerate(zip(questions, targets, strict=True))
        ]
        calls = [self.describe_call(given) for given in givens]
        started = time.monotonic()
        try:
            masks = segment_episodes(
                self.method,
                tensors,
                replace(calls[0], where=place),
                [call.class_name for call in calls],
                source=self.source,
                smaller=_SMALLER,
            )
        except PluginError as error:
            self._find_culprit(questions, targets, inputs, precision, error)
            raise
        seconds = (time.monotonic() - started) / len(questions)
        return [_Answer(given, mask, seconds) for given, mask in zip(givens, masks, strict=True)]

    def _collect(self, questions: Sequence[_Question], inputs: Inputs, place: str) -> tuple[Any, Any, Tensor]:
        """Collect what the method receives of these episodes, each read by itself.

        Raises:
            PluginError: if memory runs out.
        """
        try:
            for b, question in enumerate(questions):
                self._stack.put(b, self._read(question, inputs))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise PluginError(
                f"{place}: memory for their inputs ran out. Next: choose a smaller {_SMALLER}, or --device cpu"
            ) from None
        return self._stack.select(len(questions))

    def _read(self, question: _Question, inputs: Inputs) -> tuple[Any, Any, Tensor]:
        query, support, mask = inputs.of(self.method, question.episode)
        return query, support, 1 - mask if question.inverted else mask

    def _give(
        self,
        question: _Question,
        target: Target,
        tensors: tuple[Any, Any, Tensor],
        seconds: float,
        precision: Precision,
    ) -> Given:
        episode = question.episode
        told = episode if question.named is None else replace(episode, class_id=question.named)
        return Given(told, *tensors, target, seconds, precision)

    def _find_culprit(
        self,
        questions: Sequence[_Question],
        targets: Sequence[Target],
        inputs: Inputs,
        precision: Precision,
        error: PluginError,
    ) -> None:
        """Predict the episodes of a batch that failed one by one.

        Raises:
            PluginError: the error of the first episode that fails alone, or that none does; memory that ran out is no
                fault of an episode.
        """
        if error.__cause__ is not None and is_out_of_memory(error.__cause__):
            return
        for question, target in zip(questions, targets, strict=True):
            # read again, because the method may have written to those of the batch
            tensors = self._read(question, inputs)
            self.predict(self._give(question, target, tensors, 0.0, precision))
        raise PluginError(
            f"{error}. Each of these episodes is predicted without an error alone. Next: `fssbench check` on the "
            "method, or leave out --batch"
        ) from error

    def _name_place(self, questions: Sequence[_Question]) -> str:
        """Name the method and the episodes, for errors."""
        indices = [question.episode.index for question in questions]
        ends = dict.fromkeys((indices[0], indices[-1]))
        plan = self.plan
        return (
            f"method {self.method.card.name!r}, {'episodes' if len(ends) > 1 else 'episode'} "
            f"{' to '.join(map(str, ends))} ({plan.benchmark}, fold {plan.fold})"
        )


def _find_nothing() -> bool:
    """Compare no weights: they were compared when the first episode of the batch was stored."""
    return False


def _select_one(tensors: tuple[Any, Any, Tensor], b: int) -> tuple[Any, Any, Tensor]:
    query, support, mask = tensors
    part = slice(b, b + 1)
    return select_episodes(query, part), select_episodes(support, part), mask[part]
