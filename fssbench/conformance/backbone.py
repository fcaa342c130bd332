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
        """Yield the networks, each with a name for messages."""
        for layout, network in self.networks.items():
            yield f"layout {layout}", network


def draw_images(count: int, side: int = SIDES[0], seed: int = 0) -> Tensor:
    """Draw random images (count, 3, side, side) from a normal distribution; equal seeds give equal images."""
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def extract(network: Backbone, images: Tensor, taps: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Extract features of images at the taps, by default all, from a fixed state of the random generators."""
    with isolated(0):
        return dict(network(images, list(network.taps) if taps is None else taps))


def require_same(one: Tensor, other: Tensor, what: str, tolerance: float = 0.0) -> None:
    """Fail if two feature maps differ in shape, or by more than the tolerance relative to the largest value."""
    require(
        one.shape == other.shape, f"{what}: the shapes {tuple(one.shape)} and {tuple(other.shape)} differ"
    )
    difference = float((one - other).abs().max())
    allowed = tolerance * max(1.0, float(one.abs().max()))
    require(
        difference <= allowed,
        f"{what}: features differ by {difference:.3g}, but at most {allowed:.3g} is allowed",
    )


def card_is_complete(s: BackboneSubject) -> None:
    """The card describes the backbone: name, title, licence, layouts, and the origin of each weight file."""
    may_be_empty = {"weights", "own_files", "pretraining", "input", "notes"}
    require_card(s.cls.card, may_be_empty)
    for weights in s.cls.card.weights:
        empty = [name for name in ("id", "file", "licence", "source", "key") if not getattr(weights, name)]
        require(not empty, f"weights {weights.id!r} lack {', '.join(empty)}")
        is_hash = len(weights.sha256) >= 8 and set(weights.sha256) <= set("0123456789abcdef")
        require(
            is_hash,
            f"the sha256 of weights {weights.id!r} is {weights.sha256!r}, but must have 8 to 64 hexadecimal digits",
        )
        require(
            weights.id != RANDOM, f"weights must not have the id {RANDOM!r}, which stands for random weights"
        )
    ids = [weights.id for weights in s.cls.card.weights]
    require(len(set(ids)) == len(ids), f"two sets of weights have the same id: {', '.join(ids)}")
    unknown_layouts = sorted(set(s.cls.card.own_files) - set(s.cls.card.layouts))
    require(
        not unknown_layouts,
        f"`own_files` names layouts that the card does not have: {', '.join(unknown_layouts)}",
    )


def layouts_build(s: BackboneSubject) -> None:
    """Every layout of the card is built, and knows its name and layout."""
    for layout, network in s.networks.items():
        require(network.name == s.cls.card.name, f"layout {layout} has the name {network.name!r}")
        require(network.layout == layout, f"the network of layout {layout} has the layout {network.layout!r}")


def taps_are_described(s: BackboneSubject) -> None:
    """Every tap is a `Tap` under its own name, strides never shrink with depth, and stages go from 0 to 4."""
    for where, network in s.each():
        require(len(network.taps) > 0, f"{where} has no tap")
        for name, tap in network.taps.items():
            require(isinstance(tap, Tap), f"{where}: tap {name} is a {type(tap).__name__}, but must be a Tap")
            require(tap.name == name, f"{where}: the `name` of tap {name} is {tap.name!r}")
            require(0 <= tap.stage <= 4, f"{where}: tap {name} has stage {tap.stage}, but must have 0 to 4")
        strides = [tap.stride for tap in network.taps.values()]
        require(strides == sorted(strides), f"{where}: the strides {strides} must not decrease")


def taps_keep_their_promise(s: BackboneSubject) -> None:
    """Feature maps have the channels and, within one cell, the stride that their taps promise, at 64 and at 97 px."""
    for where, network in s.each():
        for side in SIDES:
            given = extract(network, draw_images(1, side))
            require(
                list(given) == list(network.taps),
                f"{where}: all taps were requested, but {', '.join(given)} were returned",
            )
            for name, tap in network.taps.items():
                require_map(given[name], tap, side, f"{where}, tap {name} at {side} px")


def require_map(features: Any, tap: Tap, side: int, what: str) -> None:
    """Fail if the features of one image are not a finite float map of the promised size."""
    require(isinstance(features, Tensor), f"{what} is a {type(features).__name__}, but must be a tensor")
    require(features.dtype == torch.float32, f"{what} is {features.dtype}, but must be torch.float32")
    shape = tuple(features.shape)
    is_map = len(shape) == 4 and shape[:2] == (1, tap.channels)
    require(is_map, f"{what} has the shape {shape}, but must have (1, {tap.channels}, h, w)")
    cells = side / tap.stride
    fits = all(abs(length - cells) <= 1 and length >= 1 for length in shape[2:])
    require(
        fits,
        f"{what} has {shape[2]} x {shape[3]} cells, but its stride {tap.stride} promises about {cells:.1f} per side",
    )
    require(bool(torch.isfinite(features).all()), f"{what} has values that are NaN or infinite")


def one_tap_alone(s: BackboneSubject) -> None:
    """A tap gives the same features whether it is requested alone or with all others."""
    images = draw_images(1)
    for where, network in s.each():
        together = extract(network, images)
        names = list(network.taps)
        for name in dict.fromkeys((names[0], names[len(names) // 2], names[-1])):
            alone = extract(network, images, [name])
            require(
                list(alone) == [name],
                f"{where}: tap {name} was requested, but {', '.join(alone)} was returned",
            )
            require_same(alone[name], together[name], f"{where}, {name} alone")


def unknown_tap_is_refused(s: BackboneSubject) -> None:
    """A tap that does not exist is an error that names it."""
    for where, network in s.each():
        try:
            extract(network, draw_images(1), ["no-such-tap"])
        except UsageError as error:
            require(
                "no-such-tap" in str(error),
                f"{where}: the error for an unknown tap does not name it: {error}",
            )
        else:
            require(
                False,
                f"{where} accepts a tap that does not exist; `forward` must call self.select(taps) first",
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
    """A call does not change images, and later layers do not overwrite the features of a tap."""
    for where, network in s.each():
        images = draw_images(1)
        given = extract(network, images)
        require(torch.equal(images, draw_images(1)), f"{where} changed its input in place")
        first = next(iter(network.taps))
        alone = extract(network, images, [first])[first]
        require_same(given[first], alone, f"{where}, {first} after deeper taps were computed")


def stays_frozen(s: BackboneSubject) -> None:
    """The network is in eval mode and requires no gradient, also after `train()` of it or of a module around it."""
    for where, network in s.each():
        for _ in ("as built", "after train()"):
            training = [name or "itself" for name, part in network.named_modules() if part.training]
            require(not training, f"{where}: {', '.join(training[:3])} is in training mode")
            learning = [name for name, value in network.named_parameters() if value.requires_grad]
            require(
                not learning,
                f"{where}: {', '.join(learning[:3])} requires a gradient; the constructor must call self.freeze()",
            )
            torch.nn.Sequential(network).train()


def weights_untouched(s: BackboneSubject) -> None:
    """Extracting features changes no weight and no buffer, and the recorded hash is that of the weights."""
    for where, network in s.each():
        extract(network, draw_images(2))
        require(
            digest_state(network.state_dict()) == network.weights_sha256,
            f"{where}: `weights_sha256` is not the hash of the weights; they changed, or `record` was not called last",
        )


def randomise_fills_every_tensor(s: BackboneSubject) -> None:
    """`randomise` gives every tensor of the state dict a value that depends on the seed alone."""
    for layout in s.cls.card.layouts:
        network = s.build(layout)
        wanted = network.weights_sha256
        _forget(network)
        network.randomise(0)
        unfilled = _list_unfilled(network)
        require(not unfilled, f"layout {layout}: `randomise` does not change {', '.join(unfilled[:3])}")
        require(
            network.weights_sha256 == wanted,
            f"layout {layout}: `randomise(0)` gives other weights when called again",
        )
        require(
            network.weights == RANDOM,
            f"layout {layout}: random weights have the id {network.weights!r}, but must have {RANDOM!r}",
        )
        network.randomise(1)
        require(network.weights_sha256 != wanted, f"layout {layout}: seeds 0 and 1 give the same weights")


def load_fills_every_tensor(s: BackboneSubject) -> None:
    """`load` accepts the network's own state dict, fills every tensor with it, and records the given id."""
    for layout in s.cls.card.layouts:
        network = s.build(layout)
        state = {name: value.clone() for name, value in network.state_dict().items()}
        wanted = network.weights_sha256
        _forget(network)
        network.load(state, "check")
        unfilled = _list_unfilled(network)
        require(not unfilled, f"layout {layout}: `load` does not change {', '.join(unfilled[:3])}")
        require(
            network.weights_sha256 == wanted,
            f"layout {layout}: the weights after `load` differ from the given ones",
        )
        require(
            network.weights == "check",
            f"layout {layout}: after `load` with the id 'check', the id is {network.weights!r}",
        )


def features_depend_on_weights(s: BackboneSubject) -> None:
    """Two networks with the same state dict give the same features."""
    images = draw_images(1)
    for layout, network in s.networks.items():
        other = s.build(layout, seed=1)
        other.load({name: value.clone() for name, value in network.state_dict().items()}, "check")
        for name, features in extract(other, images).items():
            require_same(
                features, extract(network, images, [name])[name], f"layout {layout}, {name} after load"
            )


def incomplete_weights_are_refused(s: BackboneSubject) -> None:
    """A state dict without one of the entries is an error, and changes nothing."""
    for where, network in s.each():
        state = dict(network.state_dict())
        state.pop(next(iter(state)))
        before = network.weights_sha256
        try:
            network.load({name: value.clone() for name, value in state.items()}, "check")
        except Exception as error:
            require(bool(str(error)), f"{where}: `load` raised {type(error).__name__} without a message")
        else:
            require(False, f"{where}: `load` accepts weights without one of the entries")
        require(
            digest_state(network.state_dict()) == before, f"{where} changed although it refused the weights"
        )


def globals_untouched(s: BackboneSubject) -> None:
    """Building and extracting do not change random generators or settings of torch."""

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
    """`resume`, if defined, gives the features of `forward` when it continues from features of `forward`."""
    if s.cls.resume is Backbone.resume and all(
        type(n).resume is Backbone.resume for n in s.networks.values()
    ):
        raise Skipped("the backbone does not define `resume`")
    for where, network, after, last in _list_spans(s, "resume"):
        both = extract(network, draw_images(1), [after, last])
        with isolated(0):
            resumed = network.resume(both[after], after, [last])
        require(
            list(resumed) == [last],
            f"{where}: tap {last} was requested from `resume`, but {', '.join(resumed)} was returned",
        )
        require_same(resumed[last], both[last], f"{where}, {last} resumed after {after}", TOLERANCE)


def part_agrees(s: BackboneSubject) -> None:
    """`part`, if defined, maps the features of one tap to those of another, and shares the network's weights."""
    if s.cls.part is Backbone.part and all(type(n).part is Backbone.part for n in s.networks.values()):
        raise Skipped("the backbone does not define `part`")
    for where, network, after, last in _list_spans(s, "part"):
        both = extract(network, draw_images(1), [after, last])
        part = network.part(after, last)
        own = {id(value) for value in network.parameters()}
        foreign = [name for name, value in part.named_parameters() if id(value) not in own]
        require(
            not foreign, f"{where}: {', '.join(foreign[:3])} of the part is not a parameter of the network"
        )
        with isolated(0):
            given = part(both[after])
        require_same(given, both[last], f"{where}, {last} by the part after {after}", TOLERANCE)


def _list_spans(s: BackboneSubject, what: str) -> Iterator[tuple[str, Backbone, str, str]]:
    """Yield networks of layouts that override a method of the contract, each with an early tap and its last tap."""
    for where, network in s.each():
        taps = list(network.taps)
        if getattr(type(network), what) is not getattr(Backbone, what) and len(taps) > 1:
            yield where, network, taps[len(taps) // 2 - 1], taps[-1]


def _forget(network: Backbone) -> None:
    """Fill every tensor with a value that no initialisation gives."""
    with torch.no_grad():
        for value in network.state_dict().values():
            value.fill_(float("nan") if value.is_floating_point() else 77)


def _list_unfilled(network: Backbone) -> list[str]:
    """Return the names of tensors that hold what `_forget` wrote."""
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
