"""Checks of a method's training loss, on synthetic episodes that are made in memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from fssbench.conformance.harness import Skipped, require
from fssbench.conformance.subject import MethodSubject
from fssbench.contracts.methods import Method, supervision_of, trains_backbone
from fssbench.contracts.prediction import UNNAMED, tell_class_names
from fssbench.evaluation.isolation import isolated
from fssbench.plural import join_some
from fssbench.training.state import list_learnable, list_statistics

_NAMED = 5
"""Most parameters that a message names; further ones are counted."""


class _LossSubject:
    """Two episodes as `Method.loss` takes them; the left half of each query is ignored (255).

    Args:
        subject: the method class.
        stage: one of its stages, or None for its last training.
    """

    def __init__(self, subject: MethodSubject, stage: str | None = None) -> None:
        cls = subject.cls
        if cls.recipe is None and cls.loss is Method.loss:
            raise Skipped("the method has no recipe and does not define a loss")
        self.method = subject.learner if stage is None else subject.build()
        if stage is not None:
            self.method.begin_stage(stage)
            self.method.train()
        self._statistics = [tensor.clone() for tensor in list_statistics(self.method)]
        self._memory = self.method.training_memory()
        self._episodes = subject.episodes(batch=2)
        self.ignore = torch.zeros_like(self._episodes.mask[:, 0], dtype=torch.bool)
        self.ignore[..., : subject.size // 2] = True
        self.truth = self._episodes.mask[:, 0].bool()

    @cached_property
    def reference(self) -> Tensor:
        """The loss of the two episodes, with its autograd graph."""
        return self.loss(self.target, self.ignore)

    @property
    def target(self) -> Tensor:
        """The mask of the object; false under ignored pixels, as in training."""
        return self.truth & ~self.ignore

    def loss(self, target: Tensor, ignore: Tensor) -> Tensor:
        """Compute the loss in training mode, from fixed weights and a fixed state of the random generators."""
        method, episodes = self.method, self._episodes
        for tensor, initial in zip(list_statistics(method), self._statistics, strict=True):
            tensor.copy_(initial)
        method.restore_memory(self._memory)
        supervision = supervision_of(method)
        labels = target.long() if supervision == "classes" else target.clone()
        extra: dict[str, Any] = {}
        if type(method).loss is not Method.loss:
            extra |= tell_class_names(method, (UNNAMED, UNNAMED))
        if supervision in ("numbered", "labelled"):
            extra["numbers"] = torch.tensor([1, 2])
        if supervision == "labelled":
            extra["labels"] = target.long() * torch.tensor([1, 2])[:, None, None]
        with isolated(0):
            query, support = episodes.query.clone(), episodes.support.clone()
            if not trains_backbone(method):
                query, support = method.read(query, support)
            with torch.enable_grad():
                loss = method.loss(query, support, episodes.mask.clone(), labels, ignore.clone(), **extra)
        returned = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        require(
            isinstance(loss, Tensor) and loss.ndim == 0,
            f"`loss` returned {returned}, but must return a scalar tensor",
        )
        return loss


_LOSS_SUBJECTS: WeakKeyDictionary[MethodSubject, _LossSubject] = WeakKeyDictionary()
"""The two episodes of each subject; their loss is computed once, because three checks use it."""


def _find_loss_subject(subject: MethodSubject) -> _LossSubject:
    if subject not in _LOSS_SUBJECTS:
        _LOSS_SUBJECTS[subject] = _LossSubject(subject)
    return _LOSS_SUBJECTS[subject]


def loss_is_finite(s: MethodSubject) -> None:
    """The training loss of a batch is a finite scalar."""
    trial = _find_loss_subject(s)
    value = float(trial.reference.detach())
    require(abs(value) < float("inf"), f"the loss is {value}")


def loss_reaches_what_learns(s: MethodSubject) -> None:
    """The training loss sends a finite gradient to every parameter that learns."""
    trial = _find_loss_subject(s)
    parameters = list_learnable(trial.method)
    if not parameters:
        require(s.cls.recipe is None, "the method has a recipe, but no learnable parameter")
        raise Skipped("the method has no learnable parameter")
    loss = trial.reference
    require(
        loss.requires_grad,
        f"the loss has no gradient, so it reaches none of the {len(parameters)} learnable parameters",
    )
    with isolated(0), torch.enable_grad():
        loss.backward()
    gradients = {name: parameter.grad for name, parameter in parameters.items()}
    trial.method.zero_grad(set_to_none=True)
    missed = [name for name, gradient in gradients.items() if gradient is None]
    require(
        not missed,
        f"no gradient reaches {join_some(missed, _NAMED)} ({len(missed)} of {len(gradients)} parameters)",
    )
    infinite = [
        name for name, gradient in gradients.items() if gradient is not None and not gradient.isfinite().all()
    ]
    require(not infinite, f"the gradient is not finite in {join_some(infinite, _NAMED)}")
    zero = all(gradient is None or not gradient.any() for gradient in gradients.values())
    require(not zero, f"the gradient is zero in all {len(gradients)} parameters")


def loss_honours_ignore(s: MethodSubject) -> None:
    """The loss does not depend on the target of ignored pixels (255), or, if `loss_ignores = False`, on the marks."""
    trial = _find_loss_subject(s)
    reference = trial.reference
    if trial.method.loss_ignores:
        other = trial.loss(trial.target | trial.ignore, trial.ignore)
        text = "ignored pixels change the loss: it is {}, and {} if all ignored pixels belong to the object"
    else:
        other = trial.loss(trial.target, torch.zeros_like(trial.ignore))
        text = "`loss_ignores` is False, but the loss is {}, and {} if no pixel is marked as ignored"
    first, second = float(reference.detach()), float(other.detach())
    same = abs(first - second) <= 1e-6 * max(1.0, abs(first))
    require(same, text.format(f"{first:.6g}", f"{second:.6g}"))


def stages_learn(s: MethodSubject) -> None:
    """The loss of every stage is a finite scalar, and sends a finite gradient to parameters of that stage."""
    if not s.cls.stages:
        raise Skipped("the method is trained in one go")
    for stage in s.cls.stages:
        trial = _LossSubject(s, stage)
        parameters = list_learnable(trial.method)
        require(bool(parameters), f"stage {stage!r} has no parameter that learns")
        value = float(trial.reference.detach())
        require(abs(value) < float("inf"), f"the loss of stage {stage!r} is {value}")
        require(trial.reference.requires_grad, f"the loss of stage {stage!r} carries no gradient")
        with isolated(0), torch.enable_grad():
            trial.reference.backward()
        gradients = [parameter.grad for parameter in parameters.values() if parameter.grad is not None]
        require(
            any(bool(gradient.any()) for gradient in gradients),
            f"the loss of stage {stage!r} reaches none of its {len(parameters)} parameters",
        )
        finite = all(bool(gradient.isfinite().all()) for gradient in gradients)
        require(finite, f"a gradient of stage {stage!r} is not finite")


LOSS_CHECKS: tuple[Callable[[MethodSubject], None], ...] = (
    loss_is_finite,
    loss_reaches_what_learns,
    loss_honours_ignore,
    stages_learn,
)
