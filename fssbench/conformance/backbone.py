"""The backbone contract, check by check, on random images and random weights."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fssbench.conformance.harness import (
    CheckResult,
    Skipped,
    Watch,
    ignore_progress,
    require,
    require_card,
    run_checks,
)
from fssbench.contracts.backbones import Backbone, Tap
from fssbench.errors import UsageError
from fssbench.evaluation.isolation import generators_kept, isolated
from fssbench.files.state_dicts import digest_state
from fssbench.loading.backbone_weights import RANDOM
from fssbench.loading.backbones import construct_backbone

SIDES = (64, 97)
"""Sides of the images, pixels; no stride divides the second."""
TOLERANCE = 1e-4
"""Difference, relative to the largest value, by which features of one image may differ between batches: sums run
in another order there."""


class BackboneSubject:
    """A backbone class under check; each layout is built once with the random weights of seed 0."""

    def __init__(self, cls: type[Backbone]) -> None:
        self.cls = cls

    def build(self, layout: str, seed: int = 0) -> Backbone:
        """Build another network of a layout, with random weights."""
        network = construct_backbone(self.cls, layout, seed)
        network.randomise(seed)
        return network

    @cached_property
    def networks(self) -> dict[str, Backbone]:
        """One network per layout; no check changes them."""
        return {layout: self.build(layout) for layout in self.cls.card.layouts}

    def each(self) -> Iterator[tuple[str, Backbone]]:
        """The networks, with a name for messages."""
        for layout, network in self.networks.items():
            yield f"layout {layout}", network


def draw_images(count: int, side: int = SIDES[0], seed: int = 0) -> Tensor:
    """Normal random images (count, 3, side, side), those of a seed always the same."""
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def extract(network: Backbone, images: Tensor, taps: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Features of images at the taps, all by default, from a fixed state of the random generators."""
    with isolated(0):
        return dict(network(images, list(network.taps) if taps is None else taps))


def require_same(one: Tensor, other: Tensor, what: str, tolerance: float = 0.0) -> None:
    """Fail if two feature maps differ in shape, or by more than the tolerance relative to the largest value."""
    require(one.shape == other.shape, f"{what}: shapes {tuple(one.shape)} and {tuple(other.shape)}")
    difference = float((one - other).abs().max())
    allowed = tolerance * max(1.0, float(one.abs().max()))
    require(difference <= allowed, f"{what}: features differ by {difference:.3g}, allowed {allowed:.3g}")


def card_is_complete(s: BackboneSubject) -> None:
    """The card says what the backbone is: name, title, licence, layouts, and of each weight file where it is from."""
    may_be_empty = {"weights", "own_files", "pretraining", "input", "notes"}
    require_card(s.cls.card, may_be_empty)
    for weights in s.cls.card.weights:
        empty = [name for name in ("id", "file", "licence", "source", "key") if not getattr(weights, name)]
        require(not empty, f"weights {weights.id!r} lack {', '.join(empty)}")
        is_hash = len(weights.sha256) >= 8 and set(weights.sha256) <= set("0123456789abcdef")
        require(
            is_hash, f"weights {weights.id!r}: sha256 {weights.sha256!r} is not 8 to 64 hexadecimal digits"
        )
        require(weights.id != RANDOM, f"weights are called {RANDOM!r}, which stands for those of a seed")
    ids = [weights.id for weights in s.cls.card.weights]
    require(len(set(ids)) == len(ids), f"two weights have one id: {', '.join(ids)}")
    strange = sorted(set(s.cls.card.own_files) - set(s.cls.card.layouts))
    require(not strange, f"own_files names layouts that the card lacks: {', '.join(strange)}")


def layouts_build(s: BackboneSubject) -> None:
    """Every layout of the card is built, and knows its name and layout."""
    for layout, network in s.networks.items():
        require(network.name == s.cls.card.name, f"layout {layout} has the name {network.name!r}")
        require(network.layout == layout, f"layout {layout} says that it is {network.layout!r}")


def taps_are_described(s: BackboneSubject) -> None:
    """Every tap is a `Tap` under its own name, strides never shrink with depth, and stages go from 0 to 4."""
    for where, network in s.each():
        require(len(network.taps) > 0, f"{where} has no tap")
        for name, tap in network.taps.items():
            require(isinstance(tap, Tap), f"{where}: tap {name} is {type(tap).__name__}, expected Tap")
            require(tap.name == name, f"{where}: tap {name} is called {tap.name!r}")
            require(0 <= tap.stage <= 4, f"{where}: tap {name} is of stage {tap.stage}")
        strides = [tap.stride for tap in network.taps.values()]
        require(strides == sorted(strides), f"{where}: strides {strides} are not in network order")


def taps_keep_their_promise(s: BackboneSubject) -> None:
    """Feature maps have the channels and, within one cell, the stride that their taps promise, at 64 and at 97 px."""
    for where, network in s.each():
        for side in SIDES:
            given = extract(network, draw_images(1, side))
            require(list(given) == list(network.taps), f"{where}: asked for all taps, got {', '.join(given)}")
            for name, tap in network.taps.items():
                require_map(given[name], tap, side, f"{where}, tap {name} at {side} px")


def require_map(features: Any, tap: Tap, side: int, what: str) -> None:
    """Fail if the features of one image are not a finite float map of the promised size."""
    require(isinstance(features, Tensor), f"{what} is {type(features).__name__}, expected a tensor")
    require(features.dtype == torch.float32, f"{what} is {features.dtype}, expected torch.float32")
    shape = tuple(features.shape)
    is_map = len(shape) == 4 and shape[:2] == (1, tap.channels)
    require(is_map, f"{what} has shape {shape}, expected (1, {tap.channels}, h, w)")
    cells = side / tap.stride
    fits = all(abs(length - cells) <= 1 and length >= 1 for length in shape[2:])
    require(
        fits, f"{what} has {shape[2]} x {shape[3]} cells, expected about {cells:.1f} (stride {tap.stride})"
    )
    require(bool(torch.isfinite(features).all()), f"{what} has values that are NaN or infinite")


def one_tap_alone(s: BackboneSubject) -> None:
    """A tap gives the same features whether it is asked for alone or among all."""
    images = draw_images(1)
    for where, network in s.each():
        together = extract(network, images)
        names = list(network.taps)
        for name in dict.fromkeys((names[0], names[len(names) // 2], names[-1])):
            alone = extract(network, images, [name])
            require(list(alone) == [name], f"{where}: asked for {name}, got {', '.join(alone)}")
            require_same(alone[name], together[name], f"{where}, {name} alone")


def unknown_tap_is_refused(s: BackboneSubject) -> None:
    """A tap that does not exist is an error that names it."""
    for where, network in s.each():
        try:
            extract(network, draw_images(1), ["no-such-tap"])
        except UsageError as error:
            require("no-such-tap" in str(error), f"{where}: the error does not name the tap: {error}")
        else:
            require(
                False, f"{where} accepts a tap that does not exist; begin `forward` with self.select(taps)"
            )


def same_twice(s: BackboneSubject) -> None:
    """The same image gives the same bits twice."""
    images = draw_images(1)
    for where, network in s.each():
        first, second = extract(network, images), extract(network, images)
        for name in first:
            require_same(first[name], second[name], f"{where}, {name} in a second call")


def no_neighbours(s: BackboneSubject) -> None:
    """Features of an image do not depend on the other images of its batch."""
    images = draw_images(3)
    for where, network in s.each():
        together = extract(network, images)
        alone = extract(network, images[:1])
        for name in together:
            require_same(together[name][:1], alone[name], f"{where}, {name} in a batch of 3", TOLERANCE)


def images_untouched(s: BackboneSubject) -> None:
    """Images are as before after a call, and no tap is overwritten by what runs after it."""
    for where, network in s.each():
        images = draw_images(1)
        given = extract(network, images)
        require(torch.equal(images, draw_images(1)), f"{where} changed its input in place")
        first = next(iter(network.taps))
        alone = extract(network, images, [first])[first]
        require_same(given[first], alone, f"{where}, {first} after deeper taps were computed")


def stays_frozen(s: BackboneSubject) -> None:
    """The network is in eval mode and takes no gradient, also after `train()` is called on it or around it."""
    for where, network in s.each():
        for _ in ("as built", "after train()"):
            training = [name or "itself" for name, part in network.named_modules() if part.training]
            require(not training, f"{where}: {', '.join(training[:3])} is in training mode")
            learning = [name for name, value in network.named_parameters() if value.requires_grad]
            require(not learning, f"{where}: {', '.join(learning[:3])} takes a gradient; call self.freeze()")
            torch.nn.Sequential(network).train()


def weights_untouched(s: BackboneSubject) -> None:
    """Extracting features changes no weight and no buffer, and the recorded hash is that of the weights."""
    for where, network in s.each():
        extract(network, draw_images(2))
        require(
            digest_state(network.state_dict()) == network.weights_sha256,
            f"{where}: the weights are not those of weights_sha256; they changed, or `record` was not called last",
        )


def randomise_fills_every_tensor(s: BackboneSubject) -> None:
    """`randomise` gives every tensor of the state dict a value that depends on the seed alone."""
    for layout in s.cls.card.layouts:
        network = s.build(layout)
        wanted = network.weights_sha256
        _forget(network)
        network.randomise(0)
        left = _unfilled(network)
        require(not left, f"layout {layout}: randomise leaves {', '.join(left[:3])} as it was")
        require(
            network.weights_sha256 == wanted, f"layout {layout}: seed 0 gives other weights a second time"
        )
        require(
            network.weights == RANDOM, f"layout {layout}: random weights are recorded as {network.weights!r}"
        )
        network.randomise(1)
        require(network.weights_sha256 != wanted, f"layout {layout}: seeds 0 and 1 give the same weights")


def load_fills_every_tensor(s: BackboneSubject) -> None:
    """`load` takes the network's own state dict, fills every tensor with it, and records the id it is given."""
    for layout in s.cls.card.layouts:
        network = s.build(layout)
        state = {name: value.clone() for name, value in network.state_dict().items()}
        wanted = network.weights_sha256
        _forget(network)
        network.load(state, "check")
        left = _unfilled(network)
        require(not left, f"layout {layout}: load leaves {', '.join(left[:3])} as it was")
        require(
            network.weights_sha256 == wanted, f"layout {layout}: load gives other weights than it was given"
        )
        require(
            network.weights == "check",
            f"layout {layout}: weights 'check' are recorded as {network.weights!r}",
        )


def features_depend_on_weights(s: BackboneSubject) -> None:
    """Two networks with the same state dict give the same features: nothing else decides them."""
    images = draw_images(1)
    for layout, network in s.networks.items():
        other = s.build(layout, seed=1)
        other.load({name: value.clone() for name, value in network.state_dict().items()}, "check")
        for name, features in extract(other, images).items():
            require_same(
                features, extract(network, images, [name])[name], f"layout {layout}, {name} after load"
            )


def incomplete_weights_are_refused(s: BackboneSubject) -> None:
    """A state dict with an entry missing is an error, and changes nothing."""
    for where, network in s.each():
        state = dict(network.state_dict())
        state.pop(next(iter(state)))
        before = network.weights_sha256
        try:
            network.load({name: value.clone() for name, value in state.items()}, "check")
        except Exception as error:
            require(bool(str(error)), f"{where}: {type(error).__name__} without a message")
        else:
            require(False, f"{where} loads weights with an entry missing")
        require(
            digest_state(network.state_dict()) == before, f"{where} was changed by weights that it refused"
        )


def globals_untouched(s: BackboneSubject) -> None:
    """Building and extracting leave random generators and the settings of torch as they are."""

    def state() -> tuple[Any, ...]:
        numbers: Any = np.random.get_state()
        return (
            torch.get_rng_state().tolist(),
            random.getstate(),
            (numbers[1].tolist(), numbers[2]),
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.backends.cudnn.benchmark,
        )

    names = ("torch's generator", "Python's generator", "numpy's generator", "the default type", "the threads",
             "the gradient mode", "cudnn.benchmark")  # fmt: skip
    for layout in s.cls.card.layouts:
        with isolated(0):  # which restores what was changed here
            before = state()
            network = s.build(layout)
            network(draw_images(1), list(network.taps))
            after = state()
        changed = [name for name, old, new in zip(names, before, after, strict=True) if old != new]
        require(not changed, f"layout {layout} changed {', '.join(changed)}")


def resume_agrees(s: BackboneSubject) -> None:
    """`resume`, if offered, gives the features of `forward` when it goes on from those of `forward`."""
    if s.cls.resume is Backbone.resume and all(
        type(n).resume is Backbone.resume for n in s.networks.values()
    ):
        raise Skipped("the backbone does not offer `resume`")
    for where, network, after, last in _spans(s, "resume"):
        both = extract(network, draw_images(1), [after, last])
        with isolated(0):
            resumed = network.resume(both[after], after, [last])
        require(list(resumed) == [last], f"{where}: asked for {last}, got {', '.join(resumed)}")
        require_same(resumed[last], both[last], f"{where}, {last} resumed after {after}", TOLERANCE)


def part_agrees(s: BackboneSubject) -> None:
    """`part`, if offered, maps the features of one tap to those of the other, and shares the network's weights."""
    if s.cls.part is Backbone.part and all(type(n).part is Backbone.part for n in s.networks.values()):
        raise Skipped("the backbone does not offer `part`")
    for where, network, after, last in _spans(s, "part"):
        both = extract(network, draw_images(1), [after, last])
        part = network.part(after, last)
        own = {id(value) for value in network.parameters()}
        foreign = [name for name, value in part.named_parameters() if id(value) not in own]
        require(not foreign, f"{where}: {', '.join(foreign[:3])} of the part is not the network's own")
        with isolated(0):
            given = part(both[after])
        require_same(given, both[last], f"{where}, {last} by the part after {after}", TOLERANCE)


def _spans(s: BackboneSubject, what: str) -> Iterator[tuple[str, Backbone, str, str]]:
    """A layout's network with an early and its last tap, for the layouts that override a method of the contract."""
    for where, network in s.each():
        taps = list(network.taps)
        if getattr(type(network), what) is not getattr(Backbone, what) and len(taps) > 1:
            yield where, network, taps[len(taps) // 2 - 1], taps[-1]


def _forget(network: Backbone) -> None:
    """Fill every tensor with a value that no initialisation gives."""
    with torch.no_grad():
        for value in network.state_dict().values():
            value.fill_(float("nan") if value.is_floating_point() else 77)


def _unfilled(network: Backbone) -> list[str]:
    """Names of tensors that hold what `_forget` wrote."""
    return [
        name
        for name, value in network.state_dict().items()
        if bool((value.isnan() if value.is_floating_point() else value == 77).any())
    ]


BACKBONE_CHECKS: tuple[Callable[[BackboneSubject], None], ...] = (
    card_is_complete,
    layouts_build,
    taps_are_described,
    taps_keep_their_promise,
    one_tap_alone,
    unknown_tap_is_refused,
    same_twice,
    no_neighbours,
    images_untouched,
    stays_frozen,
    weights_untouched,
    randomise_fills_every_tensor,
    load_fills_every_tensor,
    features_depend_on_weights,
    incomplete_weights_are_refused,
    globals_untouched,
    resume_agrees,
    part_agrees,
)


def check_backbone(cls: type[Backbone], *, watch: Watch = ignore_progress) -> list[CheckResult]:
    """Check a backbone class against the backbone contract, in all its layouts, with random weights.

    Args:
        cls: the class; it need not be registered.
        watch: called before each check and at the end.

    Returns:
        One result per check, in order.
    """
    with generators_kept():
        return list(run_checks(BACKBONE_CHECKS, BackboneSubject(cls), cls.waivers, watch))
