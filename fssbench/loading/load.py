"""Functions that build a method from its name: class, settings, backbone, weights."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch

from fssbench.contracts.arguments import check_arguments
from fssbench.contracts.backbones import Backbone
from fssbench.contracts.companions import Companion, CompanionIdentity, list_networks
from fssbench.contracts.episodes import Plan
from fssbench.contracts.marks import Mark, MarkKind
from fssbench.contracts.methods import (
    FeatureMethod,
    Method,
    MethodConfig,
    collect_method_weights,
    needs_checkpoint,
    owns_backbone,
)
from fssbench.contracts.provenance import Provenance
from fssbench.errors import DataError, UsageError
from fssbench.files.state_dicts import digest_state
from fssbench.installed import map_entry_points
from fssbench.loading import checkpoints
from fssbench.loading.backbone_weights import RANDOM as RANDOM_ID, choose_default_weights
from fssbench.loading.backbones import build_backbone, find_backbone_source, list_backbones_with
from fssbench.loading.pretraining import brings_weights
from fssbench.loading.replaced_functions import note_functions, refuse_replaced_functions
from fssbench.loading.settings import make_settings_for_weights
from fssbench.loading.weights_choice import choose_weights, explain_weights_in_python
from fssbench.plugins import execution
from fssbench.plugins.calls import plugin_call
from fssbench.plugins.import_files import drop_aliases
from fssbench.plugins.process_state import numbers_kept
from fssbench.plugins.registry import BACKBONES, METHODS, list_import_observations, load_plugins
from fssbench.plugins.source_hash import Source, collect_source

UNFILED = Mark(MarkKind.CODE_IN_NO_FILE)
"""Mark of a method that is defined in a notebook or an interactive session, so that its code cannot be read later."""
LOCAL = Mark(MarkKind.LOCAL_WEIGHTS)
"""Mark of weights without a published id: those of a file, or of an encoder that the plugin contains."""
RANDOM = Mark(MarkKind.RANDOM_WEIGHTS)
"""Mark of an encoder whose weights depend on the seed."""


@check_arguments
def load_method(
    name: str | type[Method],
    *,
    backbone: str | None = None,
    weights: str | None = None,
    checkpoint: str | Path | None = None,
    ablate: Sequence[str] = (),
    device: str = "cpu",
    seed: int = 0,
    download: bool = False,
    plan: Plan | None = None,
    untrained: bool = False,
    force: bool = False,
    plugins: str | Path | Sequence[str | Path] = (),
    **config: Any,
) -> Method:
    """Build a method in eval mode with a frozen backbone.

    A method that needs training gets its weights by the rule of `fssbench run` (`fssbench.loading.weights_choice`):
    those of `checkpoint`, or else those that come with its plugin and fit `plan`.  Otherwise it is refused.

    Args:
        name: a registered method, or a method class.
        backbone: a registered backbone (`fssbench list backbones`); the card's by default.
        weights: backbone weights: a published id, `random`, or a file.  The default is the published
            default of the backbone, or the backbone in `checkpoint` if it contains one.
        checkpoint: weights of the method, our own format or the authors' layout.
        ablate: names of `Config.ablations` to apply.
        device: torch device.
        seed: seed of random initial weights of method and backbone; no global generator changes.
        download: whether to download published backbone weights that are not on this machine.
        plan: the plan to be measured, from `fssbench.plan`; it decides which shipped checkpoint fits.
        untrained: whether to leave the weights of a method that needs training random; figures are marked.
        force: whether to load a checkpoint of another method, backbone or other settings; figures are marked.
        plugins: plugin files, folders or modules to load first; a file that was edited since is imported again.
        **config: settings, fields of the method's `Config`; text is converted to the field's type.

    Returns:
        The method; its `provenance` names code, settings and weights.

    Raises:
        UsageError: for an unknown method, backbone, ablation or setting, with similar names.
        DataError: for weights or checkpoints that are missing, refused or do not fit, and for a method that
            needs trained weights and is given none.
        PluginError: if the plugin does not load or its constructor fails.

    Example:
        >>> method = load_method("hsnet", backbone="resnet50", weights="random")
        >>> method.provenance.learnable
        2573794
    """
    load_plugins(plugins)
    cls: type[Method] = METHODS.get(name) if isinstance(name, str) else name
    choice = choose_weights(
        cls,
        plan,
        backbone=backbone,
        weights=weights,
        checkpoint=checkpoint,
        ablate=ablate,
        config=config,
        untrained=untrained,
    )
    state = None if choice.checkpoint is None else checkpoints.read_reference(choice.checkpoint)
    settings = make_settings_for_weights(cls, ablate, choice.config, state)
    if choice.lacking:
        named = choice.backbone or (cls.card.backbone if cls.needs_backbone else None)
        raise DataError(explain_weights_in_python(cls, named, plan))
    backbone, path, config = choice.backbone, choice.checkpoint, choice.config
    target = require_device(device)
    network = _build_method_backbone(cls, settings, backbone, weights, path, seed, download)
    companions = _build_companions(cls, settings, weights, seed, download)
    with execution.observe() as observed:
        method = _construct(cls, settings, network, seed)
    method.accompany(companions)
    record_provenance(method, observed)
    method.provenance = method.provenance.changed(
        ablations=tuple(dict.fromkeys(ablate)),
        config_passed={k: str(v) if isinstance(v, Path) else v for k, v in config.items()},
        seed=seed,
    )
    if path is not None:
        checkpoints.load(method, path, state, force=force)
    elif brings_weights(method):
        again = collect_method_weights(_construct(cls, settings, network, seed + 1))
        if digest_state(again) != digest_state(collect_method_weights(method)):
            marks = tuple(RANDOM if mark == LOCAL else mark for mark in method.provenance.marks)
            method.provenance = method.provenance.changed(marks=marks)
    return method.to(target).eval()


_SOURCES: WeakKeyDictionary[Method, Source] = WeakKeyDictionary()
"""Source of each method, with the files of its backbone; it is not an attribute of the method, because a method must
not reach any path."""


def find_method_source(method: Method) -> Source:
    """Return the source files of a method; the provenance of one built without `load_method` is recorded first.

    Raises:
        PluginError: if a file of the plugin was edited after it was imported, or a function replaced after loading.
    """
    if method not in _SOURCES:
        given = method.provenance.given_values()  # such as a checkpoint that was loaded without load_method
        record_provenance(method)
        method.provenance = method.provenance.changed(**given)
    refuse_replaced_functions(method, _SOURCES[method].files)
    return _SOURCES[method]


def record_provenance(method: Method, *observed: execution.Observed) -> None:
    """Fill in the provenance of a method that was just built.

    Args:
        method: a method with the weights from its constructor.
        observed: code and files that the constructor executed and read.

    Raises:
        PluginError: if a file of the plugin was edited after it was imported.
    """
    cls, network = type(method), method.backbone
    settings = method.config.model_dump(mode="json")
    source = collect_source(
        cls,
        base=Method,
        files=cls.files,
        named=[value for value in settings.values() if isinstance(value, str)],
        observed=[*list_import_observations(cls), *observed],
    )
    of_networks = {name: find_backbone_source(each) for name, each in list_networks(method).items()}
    of_backbone = of_networks.get("backbone")
    whole = source
    for of_network in of_networks.values():
        whole = whole.with_files_of(of_network)
    _SOURCES[method] = whole
    note_functions(method)
    method.provenance = Provenance(
        method=cls.card.name,
        method_version=_name_distribution(cls),
        source_sha256=source.sha256,
        sources=source.parts
        | {
            f"{name}/{part}": sha256
            for name, of_network in of_networks.items()
            for part, sha256 in of_network.parts.items()
        },
        distributions=whole.distributions,
        backbone=network.name if network else None,
        layout=network.layout if network else None,
        weights=network.weights if network else None,
        weights_sha256=network.weights_sha256 if network else None,
        backbone_source_sha256=of_backbone.sha256 if of_backbone else None,
        companions={
            name: CompanionIdentity(
                backbone=each.name,
                layout=each.layout,
                weights_sha256=each.weights_sha256,
                source_sha256=of_networks[name].sha256,
            )
            for name, each in method.companions.items()
        },
        companion_weights={name: each.weights for name, each in method.companions.items()},
        config=settings,
        untrained=needs_checkpoint(cls),
        learnable=_count_learnable(method),
        parameters=sum(p.numel() for p in method.parameters()),
        marks=_make_own_marks(method, whole),
    )


def _build_method_backbone(
    cls: type[Method],
    settings: MethodConfig,
    name: str | None,
    weights: str | None,
    checkpoint: Path | None,
    seed: int,
    download: bool,
) -> Backbone | None:
    """Build the backbone of a method; None for an image method with its own encoder."""
    if not cls.needs_backbone and (name is None or cls.card.backbone not in BACKBONES.names()):
        return None
    name = name or cls.card.backbone
    card = BACKBONES.get(name).card
    if weights is None:
        # a checkpoint that brings its backbone needs no ImageNet weights
        brings = checkpoint is not None and (
            owns_backbone(cls) or checkpoints.read_header(checkpoint) is None
        )
        weights = "random" if brings else choose_default_weights(name)
    with plugin_call(f"method {cls.card.name!r} cannot choose the layout of its backbone:"):
        layout = cls.backbone_layout(name, settings)
    if layout not in card.layouts:
        raise UsageError(_explain_missing_layout(cls, name, layout, card.layouts))
    return build_backbone(name, weights=weights, layout=layout, seed=seed, download=download)


def _build_companions(
    cls: type[Method], settings: MethodConfig, weights: str | None, seed: int, download: bool
) -> dict[str, Backbone]:
    """Build the networks that a method uses beside its backbone, by name."""
    return {
        name: build_backbone(each.backbone, weights=each.weights, seed=seed, download=download)
        for name, each in choose_companions(cls, settings, weights).items()
    }


def choose_companions(cls: type[Method], settings: MethodConfig, weights: str | None) -> dict[str, Companion]:
    """Return the companions of a method, each with its weights, by name.

    Args:
        cls: the method.
        settings: its settings.
        weights: weights of its backbone, if any were requested.
    """
    with plugin_call(f"method {cls.card.name!r} cannot name its companions:"):
        companions = cls.list_companions(settings)
    usual = RANDOM_ID if weights == RANDOM_ID else None
    return {
        name: replace(each, weights=each.weights or usual or choose_default_weights(each.backbone))
        for name, each in companions.items()
    }


def _explain_missing_layout(cls: type[Method], backbone: str, layout: str, has: Sequence[str]) -> str:
    """Explain that a backbone does not have the layout that a method uses."""
    ways = [f"--backbone {' or '.join(list_backbones_with(layout)) or cls.card.backbone}"]
    if "layout" in cls.Config.model_fields:
        ways.append("--set layout=NAME (`fssbench show " + cls.card.name + "` lists the values)")
    return (
        f"method {cls.card.name!r} uses backbones in the layout {layout!r}, but backbone {backbone!r} only has "
        f"{', '.join(has)}. Next: give {', or '.join(ways)}"
    )


def _construct(cls: type[Method], settings: MethodConfig, backbone: Backbone | None, seed: int) -> Method:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # CPU only; generators of accelerators stay unchanged
        try:
            what = f"method {cls.card.name!r}"
            with ExitStack() as stack:
                if not cls.__module__.startswith("fssbench."):
                    stack.enter_context(numbers_kept(f"{what}: its `__init__`"))
                hint = "" if backbone is None else _compare_with_card(cls, backbone.name)
                stack.enter_context(plugin_call(f"{what} cannot be built with {settings!r}:", hint=hint))
                return cls(settings, backbone)
        finally:
            drop_aliases()


def require_taps(method: Method) -> None:
    """Refuse a method that reads taps which its backbone does not have.

    Raises:
        PluginError: with the known taps, and the backbone of the card if that is another one.
    """
    if isinstance(method, FeatureMethod) and method.backbone is not None:
        what = f"method {method.card.name!r}"
        hint = _compare_with_card(type(method), method.backbone.name)
        with plugin_call(f"{what}: `taps` raised", inside=f"{what} cannot be used", hint=hint):
            method.backbone.select(method.taps.union)


def _compare_with_card(cls: type[Method], backbone: str) -> str:
    """Say that a method was built on another backbone than that of its card, as on miniature data; or nothing."""
    own = cls.card.backbone
    if backbone == own:
        return ""
    return f"It was built on {backbone}, and its card names {own}. Next: give backbone {own}, or taps of {backbone}"


def require_device(name: str) -> torch.device:
    """Return a torch device after a test allocation; `auto` is the first CUDA device, else the CPU.

    Raises:
        UsageError: if this machine does not have the device, or torch cannot use it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise UsageError(
            f"device {name!r} cannot be used here ({reason}). Next: `fssbench env`, or --device cpu"
        ) from None
    return device


def _make_own_marks(method: Method, source: Source) -> tuple[Mark, ...]:
    """Return the marks of a method that do not depend on the benchmark."""
    marks = [] if source.has_file else [UNFILED]
    from_file = any(each.weights.startswith("file:") for each in list_networks(method).values())
    if from_file or brings_weights(method):
        marks.append(LOCAL)
    return tuple(marks)


def _count_learnable(method: Method) -> int:
    """Count the parameters that training would change; the frozen backbone requires no gradient."""
    return sum(p.numel() for p in method.parameters() if p.requires_grad)


def _name_distribution(cls: type[Method]) -> str:
    """Name the distribution that registers the class, with its version, or return `file`."""
    return map_entry_points(METHODS.group).get(f"{cls.__module__}:{cls.__qualname__}", "file")
