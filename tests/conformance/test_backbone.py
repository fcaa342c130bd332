"""Every check of the backbone contract fails for a backbone that breaks it, and passes for those that do not."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fssbench.conformance.backbone import BACKBONE_CHECKS
from fssbench.contracts.backbones import Backbone, BackboneCard, PublishedWeights, Tap
from fssbench.errors import PluginError
from fssbench.plugins.registry import BACKBONES
from fssbench.testing import CheckResult, check_backbone

WEIGHTS = PublishedWeights(
    id="v1", file="v1.pth", sha256="0" * 8, licence="none", source="nobody", key="https://example.org/v1.pth"
)


class Sound(Backbone):
    """Two convolutions with a norm between them, a token, and all that a backbone may offer."""

    card = BackboneCard(name="sound", title="Sound", licence="none", weights=(WEIGHTS,))

    def __init__(self) -> None:
        super().__init__()
        with torch.device("meta"):
            self.first = nn.Conv2d(3, 4, 3, stride=4, padding=1)
            self.norm = nn.BatchNorm2d(4)
            self.second = nn.Conv2d(4, 6, 3, stride=2, padding=1)
            self.token = nn.Parameter(torch.empty(1, 6, 1, 1))
        self.freeze()

    @property
    def taps(self) -> Mapping[str, Tap]:
        return {"one": Tap("one", 4, 4, 1), "two": Tap("two", 6, 8, 2)}

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        self.select(taps)
        maps = {"one": self.norm(self.first(images))}
        maps["two"] = self._deeper(maps["one"])
        return {tap: maps[tap] for tap in taps}

    def _deeper(self, features: Tensor) -> Tensor:
        out: Tensor = self.second(features.relu()) + self.token
        return out

    def resume(self, features: Tensor, after: str, taps: Sequence[str]) -> dict[str, Tensor]:
        self.select_after(after, taps)
        return {"two": self._deeper(features)}

    def part(self, after: str, last: str) -> nn.Module:
        self.select_after(after, [last])
        return _Deeper(self.second, self.token)


class _Deeper(nn.Module):
    def __init__(self, second: nn.Conv2d, token: nn.Parameter) -> None:
        super().__init__()
        self.second, self.token = second, token

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.second(features.relu()) + self.token
        return out


def outcomes(cls: type[Backbone]) -> dict[str, CheckResult]:
    return {result.check: result for result in check_backbone(cls)}


def changed_maps(change: Callable[[Backbone, dict[str, Tensor], Tensor], dict[str, Tensor]]) -> type[Sound]:
    """A backbone whose features are changed by a function of itself, the features and the images."""

    class Changed(Sound):
        def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
            return change(self, super().forward(images, taps), images)

    return Changed


def with_taps(**taps: Tap) -> type[Sound]:
    class Retapped(Sound):
        @property
        def taps(self) -> Mapping[str, Tap]:
            return {**super().taps, **taps}

    return Retapped


def with_card(**fields: Any) -> type[Sound]:
    return type("Carded", (Sound,), {"card": Sound.card.model_copy(update=fields)})


class NoLayout(Sound):
    card = BackboneCard(name="sound", title="Sound", licence="none", layouts=("standard", "wide"))

    def __init__(self, layout: str = "standard") -> None:
        if layout == "wide":
            raise ValueError("no such network")
        super().__init__()


class ReadsAll(Sound):
    def select(self, taps: Sequence[str]) -> set[str]:
        return set(taps)

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        maps = super().forward(images, list(self.taps))
        return {tap: maps.get(tap, maps["one"]) for tap in taps}


class Learns(Sound):
    def freeze(self) -> None:
        super().freeze()
        self.first.weight.requires_grad_(True)


class Trains(Sound):
    def train(self, mode: bool = True) -> Backbone:
        nn.Module.train(self, mode)
        return self


class CountsCalls(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        self.calls += 1
        return super().forward(images, taps)


class LeavesToken(Sound):
    """Forgets the token when it is filled, so that it keeps whatever memory held."""

    def randomise(self, seed: int) -> None:
        before = self.token.clone()
        super().randomise(seed)
        with torch.no_grad():
            self.token.copy_(before)
        self.record("random")


class LoadsHalf(Sound):
    def load(self, state: Mapping[str, Tensor], weights: str) -> None:
        own = self.state_dict()
        for name, value in state.items():
            if name != "token":
                own[name].copy_(value)
        self.record(weights)


class Hidden(Sound):
    """Features depend on a number that no weights hold."""

    def randomise(self, seed: int) -> None:
        self.hidden = float(seed)
        super().randomise(seed)

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        return {tap: value + self.hidden for tap, value in super().forward(images, taps).items()}


class Reseeds(Sound):
    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        torch.manual_seed(1)
        return super().forward(images, taps)


class ResumesElsewhere(Sound):
    def resume(self, features: Tensor, after: str, taps: Sequence[str]) -> dict[str, Tensor]:
        return {"two": super().resume(features, after, taps)["two"] * 2}


class PartOfAnother(Sound):
    def part(self, after: str, last: str) -> nn.Module:
        import copy

        return copy.deepcopy(super().part(after, last))


def _overwrite_first(_: Backbone, maps: dict[str, Tensor], images: Tensor) -> dict[str, Tensor]:
    if "one" in maps and "two" in maps:
        maps["one"].relu_()
    return maps


def _overwrite_images(_: Backbone, maps: dict[str, Tensor], images: Tensor) -> dict[str, Tensor]:
    images.zero_()
    return maps


def _normalise_batch(_: Backbone, maps: dict[str, Tensor], images: Tensor) -> dict[str, Tensor]:
    return {tap: value - value.mean(dim=0, keepdim=True) for tap, value in maps.items()}


def _add_noise(_: Backbone, maps: dict[str, Tensor], images: Tensor) -> dict[str, Tensor]:
    return {tap: value + random.Random().random() for tap, value in maps.items()}


def _scale_by_taps(_: Backbone, maps: dict[str, Tensor], images: Tensor) -> dict[str, Tensor]:
    return {tap: value * len(maps) for tap, value in maps.items()}


BROKEN: dict[str, list[type[Backbone]]] = {
    "card_is_complete": [
        with_card(title=""),
        with_card(weights=(WEIGHTS, WEIGHTS)),
        with_card(weights=(WEIGHTS.model_copy(update={"sha256": "not a hash"}),)),
        with_card(weights=(WEIGHTS.model_copy(update={"id": "random"}),)),
        with_card(own_files={"wide": "wide.pth"}),
    ],
    "layouts_build": [NoLayout],
    "taps_are_described": [
        with_taps(two=Tap("three", 6, 8, 2)),
        with_taps(two=Tap("two", 6, 2, 2)),
        with_taps(two=Tap("two", 6, 8, 5)),
    ],
    "taps_keep_their_promise": [
        with_taps(two=Tap("two", 7, 8, 2)),
        with_taps(two=Tap("two", 6, 16, 2)),
        with_taps(three=Tap("three", 6, 8, 2)),
        changed_maps(lambda _, maps, images: {tap: value.flatten(2) for tap, value in maps.items()}),
        changed_maps(lambda _, maps, images: {tap: value / 0 for tap, value in maps.items()}),
        changed_maps(lambda _, maps, images: {tap: value.double() for tap, value in maps.items()}),
    ],
    "one_tap_alone": [changed_maps(_scale_by_taps)],
    "unknown_tap_is_refused": [ReadsAll],
    "same_twice": [changed_maps(_add_noise)],
    "no_neighbours": [changed_maps(_normalise_batch)],
    "images_untouched": [changed_maps(_overwrite_images), changed_maps(_overwrite_first)],
    "stays_frozen": [Learns, Trains],
    "weights_untouched": [CountsCalls],
    "randomise_fills_every_tensor": [LeavesToken],
    "load_fills_every_tensor": [LoadsHalf],
    "features_depend_on_weights": [Hidden],
    "incomplete_weights_are_refused": [LoadsHalf],
    "globals_untouched": [Reseeds],
    "resume_agrees": [ResumesElsewhere],
    "part_agrees": [PartOfAnother],
}


def test_a_sound_backbone_passes_every_check() -> None:
    assert {name: result.reason for name, result in outcomes(Sound).items() if result.status != "pass"} == {}


def test_every_check_has_a_backbone_that_breaks_it() -> None:
    assert set(BROKEN) == {check.__name__ for check in BACKBONE_CHECKS}


@pytest.mark.parametrize(
    ("check", "cls"), [(check, cls) for check, classes in BROKEN.items() for cls in classes]
)
def test_a_check_fails_for_a_backbone_that_breaks_it(check: str, cls: type[Backbone]) -> None:
    result = outcomes(cls)[check]
    assert result.status == "fail"
    assert result.reason


def test_a_check_is_waived_with_its_reason() -> None:
    cls = changed_maps(_normalise_batch)
    cls.waivers = {"no_neighbours": "as published"}
    result = outcomes(cls)["no_neighbours"]
    assert result.status == "skip"
    assert "as published" in result.reason


def test_what_a_backbone_does_not_offer_is_skipped() -> None:
    class Plain(Sound):
        resume = Backbone.resume
        part = Backbone.part

    results = outcomes(Plain)
    assert [name for name, result in results.items() if result.status == "skip"] == [
        "resume_agrees",
        "part_agrees",
    ]


def test_a_buffer_without_value_is_refused_when_it_is_frozen() -> None:
    class Undefined(Sound):
        def freeze(self) -> None:
            self.register_buffer("periods", torch.empty(3, device="meta"), persistent=False)
            super().freeze()

    with pytest.raises(PluginError) as caught:
        Undefined()
    assert "'periods'" in str(caught.value)


def test_a_buffer_that_the_constructor_computes_keeps_its_value() -> None:
    class Computed(Sound):
        def freeze(self) -> None:
            self.register_buffer("periods", torch.arange(3.0), persistent=False)
            super().freeze()

    network = Computed()
    assert network.get_buffer("periods").tolist() == [0, 1, 2]
    network.randomise(0)
    assert network.get_buffer("periods").tolist() == [0, 1, 2]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "name",
    [
        "efficientnet-lite0",
        pytest.param("vgg16", marks=pytest.mark.slow),
        pytest.param("resnet50", marks=pytest.mark.slow),
    ],
)
def test_built_in_backbones_keep_the_contract(name: str) -> None:
    results = check_backbone(BACKBONES.get(name))
    assert {result.check: result.reason for result in results if result.status == "fail"} == {}


def test_the_toy_backbone_keeps_the_contract(tmp_path: Path) -> None:
    from places import PLUGIN_PACKAGE

    from fssbench.plugins.registry import load_plugin

    load_plugin(PLUGIN_PACKAGE / "src" / "fssbench_toys" / "backbones.py")
    results = check_backbone(BACKBONES.get("toy-stages"))
    assert {result.check: result.reason for result in results if result.status == "fail"} == {}
