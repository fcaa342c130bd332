"""The checks of a method's training loss, and how failures of one cause are numbered."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fssbench_toys.methods import ToyColour
from torch import Tensor, nn
from torch.nn import functional

from fssbench.api import Recipe, Stage
from fssbench.conformance.harness import run_checks
from fssbench.conformance.loss import LOSS_CHECKS
from fssbench.conformance.subject import MethodSubject
from fssbench.testing import check_method


class Learner(ToyColour):
    """A small network that keeps the contract."""

    recipe = Recipe(optimizer="sgd", learning_rate=0.1, batch=2, steps=2, source="here")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.body = nn.Sequential(nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Conv2d(4, 2, 1)

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        colours = (support * support_mask[:, :, None]).sum(dim=(1, 3, 4)) / (support_mask.sum() + 1)
        joined = torch.cat([query, colours[..., None, None].expand_as(query)], dim=1)
        return self.head(self.body(joined))


class Unused(Learner):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.spare = nn.Linear(2, 2)


class WaivedUnused(Unused):
    waivers = {"loss_reaches_what_learns": "the reference never uses its spare layer"}


class Detached(Learner):
    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        return self.head(self.body(torch.cat([query, query], dim=1)).detach())


class NoGraph(Learner):
    @torch.no_grad()
    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        return super().logits(query, support, support_mask)


class Zeroed(Learner):
    def loss(self, *inputs: Any) -> Tensor:
        return super().loss(*inputs) * 0


class NaNLoss(Learner):
    def loss(self, *inputs: Any) -> Tensor:
        return super().loss(*inputs).log() * float("nan")


class WildGradient(Learner):
    def loss(self, *inputs: Any) -> Tensor:
        return super().loss(*inputs) + (self.head.bias * 0).sum().sqrt()


class Vector(Learner):
    def loss(self, *inputs: Any) -> Tensor:
        return super().loss(*inputs)[None]


class CountsIgnored(Learner):
    recipe = None

    def loss(self, query: Tensor, support: Tensor, mask: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
        return functional.cross_entropy(self.predict(query, support, mask), target.long())


class LeavesOut(Learner):
    """Says that ignored pixels count as background, and leaves them out."""

    loss_ignores = False

    def loss(self, query: Tensor, support: Tensor, mask: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
        marked = target.long().masked_fill(ignore, 255)
        return functional.cross_entropy(self.predict(query, support, mask), marked, ignore_index=255)


class Honest(LeavesOut):
    loss_ignores = True


class AsBackground(Learner):
    loss_ignores = False


class Staged(Learner):
    """Trains its head alone, before all of it."""

    stages = {"first": Stage(recipe=Learner.recipe, names=r"^head\.")}


class StagedNothing(Learner):
    stages = {"first": Stage(recipe=Learner.recipe, names=r"^heads\.")}


class StagedIdle(Staged):
    def loss(self, *inputs: Any) -> Tensor:
        return super().loss(*inputs) * (1 if self.stage is None else 0)


class NothingLearns(ToyColour):
    recipe = Learner.recipe


def results_of(cls: type) -> dict[str, Any]:
    return {r.check: r for r in run_checks(LOSS_CHECKS, MethodSubject(cls), cls.waivers)}


@pytest.mark.parametrize("cls", [Learner, Honest, AsBackground, Staged])
def test_a_sound_loss_passes(cls: type) -> None:
    assert [name for name, r in results_of(cls).items() if r.status != "pass"] in ([], ["stages_learn"])
    assert results_of(cls)["stages_learn"].status == ("pass" if cls is Staged else "skip")


@pytest.mark.parametrize(
    ("cls", "check", "part"),
    [
        (Unused, "loss_reaches_what_learns", "spare.weight, spare.bias"),
        (Detached, "loss_reaches_what_learns", "body.0.weight"),
        (NoGraph, "loss_reaches_what_learns", "none of the 6 learnable parameters"),
        (Zeroed, "loss_reaches_what_learns", "zero"),
        (NothingLearns, "loss_reaches_what_learns", "no learnable parameter"),
        (WildGradient, "loss_reaches_what_learns", "head.bias"),
        (NaNLoss, "loss_is_finite", "nan"),
        (Vector, "loss_is_finite", r"(1,)"),
        (CountsIgnored, "loss_honours_ignore", "ignored pixels change the loss"),
        (LeavesOut, "loss_honours_ignore", "`loss_ignores` is False"),
        (StagedNothing, "stages_learn", "stage 'first' has no parameter"),
        (StagedIdle, "stages_learn", "stage 'first' reaches none of its 2 parameters"),
    ],
)
def test_a_broken_loss_fails_the_check_that_names_it(cls: type, check: str, part: str) -> None:
    result = results_of(cls)[check]
    assert result.status == "fail"
    assert part in result.reason


def test_a_parameter_that_is_idle_for_a_reason_is_waived() -> None:
    result = results_of(WaivedUnused)["loss_reaches_what_learns"]
    assert result.status == "skip"
    assert "never uses its spare layer" in result.reason
    assert result.cause is None


def test_methods_that_teach_nothing_are_left_out() -> None:
    assert {r.status for r in results_of(ToyColour).values()} == {"skip"}


class Raises(ToyColour):
    """One wrong line, whose message has other numbers in it at other sizes."""

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        return query @ torch.zeros(query.shape[-1] + 1, 2)


class RaisesTwice(ToyColour):
    """Two causes: one with one support, another with more."""

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        if support.shape[1] > 1:
            raise ValueError("many")
        raise ValueError("one")


def causes_of(cls: type, **options: Any) -> dict[str, int]:
    return {r.check: r.cause for r in check_method(cls, **options) if r.status == "fail"}


def test_failures_of_one_line_have_one_cause() -> None:
    causes = causes_of(Raises)
    assert set(causes.values()) == {1}
    assert len(causes) > 10


def test_failures_of_two_lines_have_two_causes() -> None:
    causes = causes_of(RaisesTwice)
    assert set(causes.values()) == {1, 2}
    assert causes["one_shot"] != causes["five_shot"]


def test_the_size_of_the_episodes_is_the_size_asked_for() -> None:
    sides = set()

    class Looks(ToyColour):
        def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
            sides.add(query.shape[-1])
            return super().logits(query, support, support_mask)

    assert causes_of(Looks, size=48) == {}
    assert sides == {48, 81}


def test_a_watcher_hears_of_every_check_before_it_begins() -> None:
    heard: list[tuple[str, int, int]] = []
    results = check_method(ToyColour, watch=lambda *event: heard.append(event))
    total = len(results)
    assert heard == [*((r.check, i, total) for i, r in enumerate(results)), ("", total, total)]
