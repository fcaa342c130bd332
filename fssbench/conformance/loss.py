"""The contract of a method's training loss, on procedural episodes made in memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from fssbench.conformance.harness import Skipped, require
from fssbench.conformance.subject import MethodSubject
from fssbench.contracts.methods import Method
from fssbench.evaluation.isolation import isolated
from fssbench.training.state import learnable, statistics

_NAMED = 5
"""Parameters that a finding names; more are counted."""


class _Lesson:
    """Two episodes as `Method.loss` takes them; the left half of each query is marked 255."""

    def __init__(self, subject: MethodSubject) -> None:
        cls = subject.cls
        if cls.recipe is None and cls.loss is Method.loss:
            raise Skipped("the method has no recipe and no loss of its own")
        self.method = subject.learner
        self._statistics = [tensor.clone() for tensor in statistics(self.method)]
        self._episodes = subject.episodes(batch=2)
        self.ignore = torch.zeros_like(self._episodes.mask[:, 0], dtype=torch.bool)
        self.ignore[..., : subject.size // 2] = True
        self.truth = self._episodes.mask[:, 0].bool()

    @cached_property
    def usual(self) -> Tensor:
        """The loss of the two episodes, with its graph."""
        return self.loss(self.target, self.ignore)

    @property
    def target(self) -> Tensor:
        """The object; false under ignored pixels, as the harness hands it over."""
        return self.truth & ~self.ignore

    def loss(self, target: Tensor, ignore: Tensor) -> Tensor:
        """The loss in training mode, from fixed weights and a fixed state of the random generators."""
        method, episodes = self.method, self._episodes
        for tensor, begin in zip(statistics(method), self._statistics, strict=True):
            tensor.copy_(begin)
        taught = target.long() if method.supervision == "classes" else target.clone()
        with isolated(0):
            query, support = method.read(episodes.query.clone(), episodes.support.clone())
            with torch.enable_grad():
                loss = method.loss(query, support, episodes.mask.clone(), taught, ignore.clone())
        got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        require(isinstance(loss, Tensor) and loss.ndim == 0, f"loss returned {got}, expected a scalar tensor")
        return loss


_LESSONS: WeakKeyDictionary[MethodSubject, _Lesson] = WeakKeyDictionary()
"""The lesson of each subject: its loss may take long, and three checks look at it."""


def _lesson(subject: MethodSubject) -> _Lesson:
    if subject not in _LESSONS:
        _LESSONS[subject] = _Lesson(subject)
    return _LESSONS[subject]


def loss_is_finite(s: MethodSubject) -> None:
    """The training loss of a batch is a scalar, and finite."""
    lesson = _lesson(s)
    value = float(lesson.usual.detach())
    require(abs(value) < float("inf"), f"the loss is {value}")


def loss_reaches_what_learns(s: MethodSubject) -> None:
    """The training loss sends a finite gradient to every parameter that learns."""
    lesson = _lesson(s)
    parameters = learnable(lesson.method)
    if not parameters:
        require(s.cls.recipe is None, "the method has a recipe, and no parameter that learns")
        raise Skipped("the method has no parameter that learns")
    loss = lesson.usual
    require(
        loss.requires_grad, f"the loss carries no gradient and reaches none of {len(parameters)} parameters"
    )
    with isolated(0), torch.enable_grad():
        loss.backward()
    gradients = {name: parameter.grad for name, parameter in parameters.items()}
    lesson.method.zero_grad(set_to_none=True)
    missed = [name for name, gradient in gradients.items() if gradient is None]
    require(
        not missed, f"no gradient reaches {_listed(missed)} ({len(missed)} of {len(gradients)} parameters)"
    )
    wild = [
        name for name, gradient in gradients.items() if gradient is not None and not gradient.isfinite().all()
    ]
    require(not wild, f"the gradient is not finite in {_listed(wild)}")
    zero = all(gradient is None or not gradient.any() for gradient in gradients.values())
    require(not zero, f"the gradient is zero in all {len(gradients)} parameters")


def loss_honours_ignore(s: MethodSubject) -> None:
    """What lies under ignored pixels (255) does not move the loss, or, with `loss_ignores = False`, marks do not."""
    lesson = _lesson(s)
    usual = lesson.usual
    if lesson.method.loss_ignores:
        other = lesson.loss(lesson.target | lesson.ignore, lesson.ignore)
        text = "the loss is {} and, with the object under all ignored pixels, {}: they are not left out"
    else:
        other = lesson.loss(lesson.target, torch.zeros_like(lesson.ignore))
        text = "loss_ignores is False, but the loss is {} and, with no pixel marked ignored, {}"
    first, second = float(usual.detach()), float(other.detach())
    same = abs(first - second) <= 1e-6 * max(1.0, abs(first))
    require(same, text.format(f"{first:.6g}", f"{second:.6g}"))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


LOSS_CHECKS: tuple[Callable[[MethodSubject], None], ...] = (
    loss_is_finite,
    loss_reaches_what_learns,
    loss_honours_ignore,
)
