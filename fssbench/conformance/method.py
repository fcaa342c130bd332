"""Checks of the method contract, on synthetic episodes that are made in memory."""

from __future__ import annotations

import inspect
import random
import time
from collections.abc import Callable, Iterator
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
from fssbench.conformance.loss import LOSS_CHECKS
from fssbench.conformance.subject import MethodSubject
from fssbench.contracts.debug_maps import collect_debug_maps
from fssbench.contracts.encoding import EncodingMethod
from fssbench.contracts.methods import FeatureMethod, Method
from fssbench.contracts.prediction import UNNAMED, tell_class_names
from fssbench.episodes.synthetic import SIDE, Synthetic
from fssbench.evaluation.isolation import generators_kept, isolated
from fssbench.plugins.process_state import SettingsState

OTHER_SUPPORTS = 3
"""Episodes whose supports are replaced.  An answer that consists of a mask alone may be the same for one of them."""
UNCHANGED = 1e-5
"""Largest change of logits, relative to the largest of them, at which two answers count as the same."""
SLOWEST = 10.0
"""Seconds that one 1-shot episode of 64 px may take on a CPU."""


def require_equal(a: Tensor, b: Tensor, what: str, tolerance: float = 0.0) -> None:
    """Fail if two tensors differ in shape, or in a value by more than the tolerance."""
    require(a.shape == b.shape, f"{what}: the shapes {tuple(a.shape)} and {tuple(b.shape)} differ")
    difference = float((a - b).abs().max())
    allowed = tolerance * max(1.0, float(a.abs().max()))
    require(
        difference <= allowed,
        f"{what}: logits differ by {difference:.3g}, but at most {allowed:.3g} is allowed",
    )


def require_output(subject: MethodSubject, episodes: Synthetic) -> None:
    """Fail if the logits of some episodes are not (B, 2, H, W)."""
    # `predict` itself refuses NaN, integers and other shapes, with a message
    batch, height, width = episodes.query.shape[0], *episodes.query.shape[-2:]
    logits = subject.predict(episodes)
    expected = (batch, 2, height, width)
    require(
        tuple(logits.shape) == expected,
        f"`predict` returned {tuple(logits.shape)}, but must return {expected}",
    )
    with isolated(0):
        mask = subject.method.segment(episodes.query, episodes.support, episodes.mask)
    require(mask.dtype == torch.bool, f"`segment` returned {mask.dtype}, but must return torch.bool")
    require(
        tuple(mask.shape) == (batch, height, width),
        f"`segment` returned {tuple(mask.shape)}, but must return {(batch, height, width)}",
    )


def card_is_complete(s: MethodSubject) -> None:
    """The card describes the method: name, title, paper, year, backbone, size, licence."""
    require_card(s.cls.card, {"training", "pretraining", "notes", "parity", "published"})
    require(s.cls.card.size > 0, f"the input size is {s.cls.card.size}, but must be positive")
    is_raw_for_features = issubclass(s.cls, FeatureMethod) and s.cls.card.pixels == "raw"
    require(not is_raw_for_features, "the card asks for raw pixels, but a feature method gets features")
    require(1990 <= s.cls.card.year <= 2100, f"the year is {s.cls.card.year}, but must be 1990 to 2100")


def config_round_trip(s: MethodSubject) -> None:
    """Settings have defaults, and are the same after storing and reading them as JSON."""
    config = s.cls.Config()
    again = s.cls.Config.model_validate_json(config.model_dump_json())
    require(again == config, f"{config!r} is {again!r} after storing and reading")


def ablations_apply(s: MethodSubject) -> None:
    """Every ablation is a valid setting that differs from the default, and has a label."""
    if not s.cls.Config.ablations:
        raise Skipped("the method declares no ablation")
    default = s.cls.Config()
    for name, ablation in s.cls.Config.ablations.items():
        require(s.cls.Config(**ablation.settings) != default, f"ablation {name!r} changes nothing")
        require(bool(ablation.label.strip()), f"ablation {name!r} has an empty label")


def builds(s: MethodSubject) -> None:
    """The method is built from its settings and, if it uses one, a frozen backbone."""
    require(
        isinstance(s.method, s.cls), f"`load_method` returned {type(s.method).__name__}, not {s.cls.__name__}"
    )
    require(not s.method.training, "the method is not in eval mode")


def sees_no_answer(s: MethodSubject) -> None:
    """`logits` and `adapt` take query, support and support mask, and never the query's mask."""
    told = [*tell_class_names(s.cls, (UNNAMED,))]
    wanted = ["self", "query", "support", "support_mask", *told]
    arguments = list(inspect.signature(s.cls.logits).parameters)
    require(arguments == wanted, f"`logits` takes {arguments}, but must take {wanted}")
    if s.cls.adapt is Method.adapt:  # it is not called
        return
    wanted = ["self", "query", "support", "support_mask", "generator", "steps", *told]
    arguments = list(inspect.signature(s.cls.adapt).parameters)
    require(arguments == wanted, f"`adapt` takes {arguments}, but must take {wanted}")


def taps_exist(s: MethodSubject) -> None:
    """The backbone has every tap that a feature method reads."""
    if not isinstance(s.method, FeatureMethod) or s.method.backbone is None:
        raise Skipped("the method is an image method, which reads no taps")
    missing = sorted(set(s.method.taps.union) - set(s.method.backbone.taps))
    require(not missing, f"backbone {s.method.backbone.name} has no tap {', '.join(missing)}")


def backbone_is_frozen(s: MethodSubject) -> None:
    """No parameter of the frozen backbone receives a gradient."""
    if s.method.backbone is None:
        raise Skipped("the method has its own encoder")
    require(
        not any(p.requires_grad for p in s.method.backbone.parameters()),
        "parameters of the backbone require a gradient",
    )


def one_shot(s: MethodSubject) -> None:
    """One support gives finite logits (B, 2, H, W) and a bool mask (B, H, W)."""
    require_output(s, s.episodes())


def five_shot(s: MethodSubject) -> None:
    """Five supports give finite logits (B, 2, H, W) and a bool mask (B, H, W)."""
    require_output(s, s.episodes(shot=5))


def odd_sizes(s: MethodSubject) -> None:
    """Inputs work if no stride divides their side: 97 px in place of 64."""
    if s.cls.card.input_size is not None:
        raise Skipped(f"the method always gets images of {s.cls.card.input_size} px")
    require_output(s, s.make(1, 1, (s.size + 33) | 1))


def output_size(s: MethodSubject) -> None:
    """Logits have the requested size."""
    shape = tuple(s.predict(s.episodes(), size=(51, 83)).shape)
    require(shape == (1, 2, 51, 83), f"the requested size is (51, 83), but the logits have the shape {shape}")


def extreme_masks(s: MethodSubject) -> None:
    """A support mask without foreground, or without background, still gives finite logits."""
    episodes = s.episodes()
    for fill in (0.0, 1.0):
        s.predict(Synthetic(episodes.query, episodes.support, torch.full_like(episodes.mask, fill)))


def debug_maps_are_maps(s: MethodSubject) -> None:
    """Maps for an inspection are tensors (1, h, w) or (1, N, h, w) by name, with one support and with five."""
    if type(s.method).debug_maps is Method.debug_maps:
        raise Skipped("the method offers no maps")
    for shot in (1, 5):
        episodes = s.episodes(shot=shot)
        with isolated(0):
            inputs = s.method.read(episodes.query, episodes.support)
            maps = collect_debug_maps(s.method, *inputs, episodes.mask)
        require(bool(maps), f"`debug_maps` returned no map with {shot} supports")


def repeated_support(s: MethodSubject) -> None:
    """The same support may be given five times, as in published episodes."""
    one = s.episodes()
    s.predict(Synthetic(one.query, one.support.repeat(1, 5, 1, 1, 1), one.mask.repeat(1, 5, 1, 1)))


def same_twice(s: MethodSubject) -> None:
    """The same episode gives the same bits twice, if the random generators have the same seeds."""
    episodes = s.episodes(shot=2)
    require_equal(s.predict(episodes), s.predict(episodes), "second call")


def no_memory(s: MethodSubject) -> None:
    """An episode's result does not depend on the episode before it."""
    both = s.episodes(batch=2)
    first = s.predict(both.one(0))
    s.predict(both.one(1))
    require_equal(first, s.predict(both.one(0)), "after another episode")


def batch_equals_single(s: MethodSubject) -> None:
    """A batch of episodes gives the same results as the episodes one by one."""
    episodes = s.episodes(batch=3, shot=2)
    one_by_one = torch.cat([s.predict(episodes.one(i)) for i in range(3)])
    require_equal(s.predict(episodes), one_by_one, "batch of 3", 1e-3)


def encodes_images_alone(s: MethodSubject) -> None:
    """What `encode` returns of an image does not depend on other images, and predictions from it stay the same."""
    method = s.method
    if not isinstance(method, EncodingMethod):
        raise Skipped("the method has no `encode`")
    episodes = s.episodes(batch=2)
    with isolated(0):
        query, support = method.read(episodes.query, episodes.support)
        together, encoded = method.encode(query), method.encode_all(query, support, 1)
        predicted = method.predict(*encoded, episodes.mask)
    for name, maps in together.items():
        require_equal(maps, encoded[0][name], f"`encode`, {name!r} beside another image", 1e-3)
    require_equal(predicted, s.predict(episodes), "prediction from encoded images", 1e-3)


def support_order(s: MethodSubject) -> None:
    """The order of the supports does not matter."""
    a = s.episodes(shot=3)
    b = Synthetic(a.query, a.support.flip(1), a.mask.flip(1))
    require_equal(s.predict(a), s.predict(b), "supports reversed", 1e-3)


def support_matters(s: MethodSubject) -> None:
    """Supports of another class give another answer: other images, and masks of what was the background."""
    episodes = s.episodes(batch=OTHER_SUPPORTS)
    for place in range(OTHER_SUPPORTS):
        a = episodes.one(place)
        before, after = s.predict(a), s.predict(Synthetic(a.query, a.support.flip(-1), 1 - a.mask))
        if before.shape != after.shape or float((after - before).abs().max()) > UNCHANGED * float(
            before.abs().max()
        ):
            return
    require(
        False,
        f"the logits are the same for {OTHER_SUPPORTS} episodes if their supports are replaced by those of another "
        "class, so the method does not answer the question of an episode. A lower bound that ignores them waives "
        "this check",
    )


def strided_inputs(s: MethodSubject) -> None:
    """Tensors that are not contiguous give the same result."""
    a = s.episodes()
    b = Synthetic(
        a.query.transpose(-1, -2).contiguous().transpose(-1, -2),
        a.support.transpose(-1, -2).contiguous().transpose(-1, -2),
        a.mask.transpose(-1, -2).contiguous().transpose(-1, -2),
    )
    require_equal(s.predict(a), s.predict(b), "non-contiguous inputs", 1e-3)


def inputs_untouched(s: MethodSubject) -> None:
    """A call does not change images and masks."""
    episodes, copies = s.episodes(shot=2), s.episodes(shot=2)
    versions = [t._version for t in (episodes.query, episodes.support, episodes.mask)]
    s.predict(episodes)
    for name, version in zip(("query", "support", "mask"), versions, strict=True):
        given = getattr(episodes, name)
        unchanged = given._version == version and torch.equal(given, getattr(copies, name))
        require(unchanged, f"the method changed {name} in place; it must clone it before writing")


def weights_untouched(s: MethodSubject) -> None:
    """A prediction changes no weight and no buffer: batch norm stays in eval mode."""
    before = {k: v.clone() for k, v in s.method.state_dict().items()}
    s.predict(s.episodes())
    after = s.method.state_dict()
    changed = [k for k in before if k not in after or not torch.equal(before[k], after[k])]
    require(not changed, f"a prediction changed {', '.join(changed[:3])}")


def state_dict_round_trip(s: MethodSubject) -> None:
    """The state dict holds everything that a prediction needs."""
    other = s.build(seed=1)
    other.load_state_dict(s.method.state_dict())
    require_equal(s.predict(s.episodes()), s.predict(s.episodes(), other), "reloaded", 1e-6)


def needs_no_gradient(s: MethodSubject) -> None:
    """Logits have no autograd graph under `no_grad`, and the grad mode is the same afterwards."""
    episodes = s.episodes()
    with isolated(0):
        logits = s.method.predict(episodes.query, episodes.support, episodes.mask)
        require(not torch.is_grad_enabled(), "the method switched the grad mode on and did not restore it")
    require(not logits.requires_grad, "the logits require a gradient; the method must detach adapted tensors")


def settings_untouched(s: MethodSubject) -> None:
    """A prediction changes nothing process-wide: settings, hooks, environment, functions of other modules."""
    episodes = s.episodes()
    with isolated(0):  # this context also restores what the call changes
        before = SettingsState()
        s.method.predict(episodes.query, episodes.support, episodes.mask)
        changed = before.list_changed_settings()
    changed = [*dict.fromkeys((*changed, *s.state.list_changed_settings(), *s.state.list_other_changes()))]
    require(not changed, f"predictions changed, for the whole process: {', '.join(changed)}")


def generators_untouched(s: MethodSubject) -> None:
    """Global random generators are unchanged after a call; drawing is allowed, as they are seeded by episode."""
    episodes = s.episodes()

    def states() -> tuple[Any, ...]:
        numbers: Any = np.random.get_state()
        return random.getstate(), numbers[1].tolist(), numbers[2], torch.get_rng_state().tolist()

    with isolated(0):
        before = states()
        s.method.predict(episodes.query, episodes.support, episodes.mask)
        after = states()
    if after != before:
        raise Skipped(
            "the method draws from global generators or reseeds them; fssbench seeds and restores them"
        )


def fast_enough(s: MethodSubject) -> None:
    """One 1-shot episode of 64 px takes under ten seconds on this machine."""
    started = time.monotonic()
    s.predict(s.episodes())
    seconds = time.monotonic() - started
    if s.size != SIDE and seconds >= SLOWEST:
        raise Skipped(f"the episode took {seconds:.1f} s at {s.size} px; the limit is for {SIDE} px")
    require(seconds < SLOWEST, f"the episode took {seconds:.1f} s, but the limit is {SLOWEST:g} s")


METHOD_CHECKS: tuple[Callable[[MethodSubject], None], ...] = (
    card_is_complete,
    config_round_trip,
    ablations_apply,
    builds,
    sees_no_answer,
    taps_exist,
    backbone_is_frozen,
    one_shot,
    five_shot,
    odd_sizes,
    output_size,
    extreme_masks,
    debug_maps_are_maps,
    repeated_support,
    same_twice,
    no_memory,
    batch_equals_single,
    encodes_images_alone,
    support_order,
    support_matters,
    strided_inputs,
    inputs_untouched,
    weights_untouched,
    state_dict_round_trip,
    needs_no_gradient,
    settings_untouched,
    generators_untouched,
    fast_enough,
    *LOSS_CHECKS,
)


def check_method(
    cls: type[Method], backbone: str | None = None, *, size: int = SIDE, watch: Watch = ignore_progress
) -> list[CheckResult]:
    """Check a method class against the method contract.

    Args:
        cls: the class; it need not be registered.
        backbone: backbone to check on, with random weights.  By default the smallest one for a
            feature method, and none for an image method.
        size: side of the synthetic episodes, pixels.
        watch: called before each check and at the end.

    Returns:
        One result per check, in order.
    """
    return list(each_check(cls, backbone, size=size, watch=watch))


def each_check(
    cls: type[Method],
    backbone: str | None,
    *,
    size: int,
    watch: Watch,
    beat: Callable[[int], None] = lambda _: None,
) -> Iterator[CheckResult]:
    """Yield the results of the checks of a method class one by one; arguments as for `check_method`.

    Args:
        cls: the class.
        backbone: backbone to check on.
        size: side of the synthetic episodes, pixels.
        watch: called before each check and at the end.
        beat: called before each prediction with its number of episodes times supports.
    """
    with generators_kept():
        subject = MethodSubject(cls, backbone, size, beat)
        yield from run_checks(METHOD_CHECKS, subject, cls.waivers, watch)
