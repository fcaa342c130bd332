"""From a backbone's name to a frozen network with its weights, and the source that it consists of."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch

from fssbench.contracts.backbones import Backbone
from fssbench.errors import PluginError, UsageError, unknown
from fssbench.files.hashing import weights_file_sha256
from fssbench.loading import backbone_weights as published
from fssbench.plugins import execution
from fssbench.plugins.calls import plugin_call
from fssbench.plugins.import_files import drop_aliases
from fssbench.plugins.registry import BACKBONES, observed_at_import
from fssbench.plugins.source_hash import Source, source_of


def build_backbone(
    name: str,
    *,
    weights: str = published.RANDOM,
    layout: str | None = None,
    seed: int = 0,
    download: bool = False,
) -> Backbone:
    """Build a frozen backbone.

    Args:
        name: a registered backbone (`fssbench list backbones`).
        weights: a published id, `random`, or a path to a file of weights.
        layout: one of the backbone's layouts; the first of its card by default.
        seed: decides `random` weights, and nothing else.
        download: fetch published weights that are not on this machine.

    Returns:
        The backbone in eval mode, no parameter taking a gradient.

    Raises:
        UsageError: for an unknown name, layout or weight id, with neighbours; for published weights that
            do not fit the layout.
        DataError: for weights that are absent, damaged or of another network.
        PluginError: if the plugin does not load, or fails to build its network or to take the weights.

    Example:
        >>> backbone = build_backbone("resnet50")
        >>> backbone(torch.zeros(1, 3, 64, 64), ["layer4.2"])["layer4.2"].shape
        torch.Size([1, 2048, 2, 2])
    """
    cls: type[Backbone] = BACKBONES.get(name)
    layout = cls.card.layouts[0] if layout is None else layout
    if layout not in cls.card.layouts:
        raise unknown(f"layout of backbone {name}", layout, cls.card.layouts)
    if weights == published.RANDOM:
        backbone = construct_backbone(cls, layout, seed)
        with plugin_call(f"backbone {name!r} cannot take random weights:"):
            backbone.randomise(seed)
        return _checked(backbone)
    is_file = published.as_file(weights) is not None
    if layout in cls.card.own_files and not is_file:
        raise UsageError(
            f"weights {published.find(name, weights).id!r} do not fit layout {layout!r} of backbone {name!r}. "
            f"Next: --weights FILE with {cls.card.own_files[layout]}, a --checkpoint in the authors' layout, "
            f"which brings its backbone, or --weights {published.RANDOM}"
        )
    path = published.locate(name, weights, download=download)
    backbone = construct_backbone(cls, layout, seed)
    with plugin_call(f"backbone {name!r} cannot take the weights of {path}:"):
        state = cls.read_weights(path)
        backbone.load(state, f"file:{weights_file_sha256(path)[:12]}" if is_file else weights)
    return _checked(backbone)


def backbones_with(layout: str) -> list[str]:
    """Names of the backbones that have a layout; plugins that do not load are passed over."""
    names = []
    for name in BACKBONES.names():
        try:
            if layout in BACKBONES.get(name).card.layouts:
                names.append(name)
        except PluginError:
            continue
    return names


def source_of_backbone(backbone: Backbone) -> Source:
    """The files that a backbone consists of; the same object for the same backbone until it is gone.

    Raises:
        PluginError: if a file of the plugin was edited after it was imported.
    """
    known = _SOURCES.get(backbone)
    return _describe(type(backbone), backbone) if known is None else known


_SOURCES: WeakKeyDictionary[Backbone, Source] = WeakKeyDictionary()
"""Source of each backbone; beside it and not in it, because a method must not reach any path."""


def construct_backbone(cls: type[Backbone], layout: str, seed: int) -> Backbone:
    """Build the network of a backbone class, with undefined weights, and note what it consists of.

    Args:
        cls: the class; it need not be registered.
        layout: one of its card's.
        seed: of torch's generator while the constructor runs, which leaves that generator as it was.

    Raises:
        PluginError: if the constructor fails or gives something else.
    """
    place = f"backbone {cls.card.name!r} cannot be built in layout {layout!r}"
    with torch.random.fork_rng(devices=[]), execution.observed() as observed:
        torch.default_generator.manual_seed(seed)  # an accelerator's generator is left alone
        try:
            with plugin_call(f"{place}:"):
                backbone = cls.from_layout(layout)
        finally:
            drop_aliases()
    if not isinstance(backbone, Backbone):
        raise PluginError(f"{place}: from_layout returned {type(backbone).__name__}, expected a Backbone")
    undefined = [name for name, value in backbone.state_dict().items() if value.is_meta]
    if undefined:
        raise PluginError(f"{place}: {undefined[0]!r} has no value, as it is on the meta device. {_FREEZE}")
    # a layout may be another class, and a class derived from a built-in has another name
    backbone.name, backbone.layout = cls.card.name, layout
    _describe(cls, backbone, observed)
    return backbone


def _describe(cls: type[Backbone], backbone: Backbone, *observed: execution.Observed) -> Source:
    source = source_of(cls, base=Backbone, files=cls.files, observed=[*observed_at_import(cls), *observed])
    _SOURCES[backbone] = source
    return source


def _checked(backbone: Backbone) -> Backbone:
    """Refuse a backbone that learns, or whose weights have no hash; put it into eval mode."""
    learning = [name for name, value in backbone.named_parameters() if value.requires_grad]
    if learning:
        raise PluginError(f"backbone {backbone.name!r}: {learning[0]!r} takes a gradient. {_FREEZE}")
    if not backbone.weights_sha256:
        raise PluginError(
            f"backbone {backbone.name!r} has no hash of its weights. "
            "Next: let `load` and `randomise` of the backbone end with `self.record(ID)`"
        )
    backbone.eval()
    return backbone


_FREEZE = "Next: end the constructor of the backbone with `self.freeze()`"
