"""Functions that build a frozen backbone with its weights from its name, and find its source files."""

from __future__ import annotations

from importlib.util import find_spec
from weakref import WeakKeyDictionary

import torch

from fssbench.contracts.backbones import Backbone
from fssbench.errors import LackingError, PluginError, UsageError, make_unknown_error
from fssbench.files.hashing import hash_weights_file
from fssbench.loading import backbone_weights as published
from fssbench.plugins import execution
from fssbench.plugins.calls import plugin_call
from fssbench.plugins.import_files import drop_aliases
from fssbench.plugins.registry import BACKBONES, list_import_observations
from fssbench.plugins.source_hash import Source, collect_source


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
        seed: seed of `random` weights; it has no other effect.
        download: download published weights that are not on this machine.

    Returns:
        The backbone in eval mode; no parameter requires a gradient.

    Raises:
        UsageError: for an unknown name, layout or weight id, with similar names; for published weights that
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
        raise make_unknown_error(f"layout of backbone {name}", layout, cls.card.layouts)
    if weights == published.RANDOM:
        backbone = construct_backbone(cls, layout, seed)
        with plugin_call(f"backbone {name!r} cannot take random weights:"):
            backbone.randomise(seed)
        return _require_frozen(backbone)
    is_file = published.parse_weights_path(weights) is not None
    if layout in cls.card.own_files and not is_file:
        raise UsageError(
            f"weights {published.find_published_weights(name, weights).id!r} do not fit layout {layout!r} of backbone "
            f"{name!r}. "
            f"Next: give --weights FILE with {cls.card.own_files[layout]}, or a --checkpoint of the authors, "
            f"which contains its backbone, or --weights {published.RANDOM}"
        )
    path = published.locate_weights(name, weights, download=download)
    backbone = construct_backbone(cls, layout, seed)
    with plugin_call(f"backbone {name!r} cannot take the weights of {path}:"):
        state = cls.read_weights(path)
        backbone.load(state, f"file:{hash_weights_file(path)[:12]}" if is_file else weights)
    return _require_frozen(backbone)


_OF_TIMM = ("fssbench.backbones.vit.", "fssbench.backbones.sam.")
"""Modules whose networks timm builds.  They are named here because the sources of backbones are part of identities."""


def require_packages(name: str) -> None:
    """Refuse a backbone whose package is not installed, before anything is said about its weights.

    Raises:
        LackingError: naming the backbone, the package and what to install.
    """
    if BACKBONES.get(name).__module__.startswith(_OF_TIMM) and find_spec("timm") is None:
        raise LackingError(
            f"backbone {name!r} is built by the package timm, which is not installed. "
            'Next: `pip install "fssbench[timm]"`'
        )


def list_backbones_with(layout: str) -> list[str]:
    """List the backbones that have a layout; plugins that do not load are skipped."""
    names = []
    for name in BACKBONES.names():
        try:
            if layout in BACKBONES.get(name).card.layouts:
                names.append(name)
        except PluginError:
            continue
    return names


def find_backbone_source(backbone: Backbone) -> Source:
    """Return the source files of a backbone; it is the same object as long as the backbone exists.

    Raises:
        PluginError: if a file of the plugin was edited after it was imported.
    """
    known = _SOURCES.get(backbone)
    return _record_source(type(backbone), backbone) if known is None else known


_SOURCES: WeakKeyDictionary[Backbone, Source] = WeakKeyDictionary()
"""Source of each backbone; it is not an attribute of the backbone, because a method must not reach any path."""


def construct_backbone(cls: type[Backbone], layout: str, seed: int) -> Backbone:
    """Build the network of a backbone class, with undefined weights, and record its source files.

    Args:
        cls: the class; it need not be registered.
        layout: a layout of its card.
        seed: seed of torch's generator during the constructor; the generator is restored afterwards.

    Raises:
        PluginError: if the constructor fails or returns something else.
    """
    place = f"backbone {cls.card.name!r} cannot be built in layout {layout!r}"
    with torch.random.fork_rng(devices=[]), execution.observe() as observed:
        torch.default_generator.manual_seed(seed)  # generators of accelerators stay unchanged
        try:
            with plugin_call(f"{place}:"):
                backbone = cls.from_layout(layout)
        finally:
            drop_aliases()
    if not isinstance(backbone, Backbone):
        raise PluginError(
            f"{place}: `from_layout` returned {type(backbone).__name__}, but must return a Backbone"
        )
    undefined = [name for name, value in backbone.state_dict().items() if value.is_meta]
    if undefined:
        raise PluginError(f"{place}: {undefined[0]!r} is on the meta device and has no value. {_FREEZE}")
    # a layout may be another class, and a class derived from a built-in has another name
    backbone.name, backbone.layout = cls.card.name, layout
    _record_source(cls, backbone, observed)
    return backbone


def _record_source(cls: type[Backbone], backbone: Backbone, *observed: execution.Observed) -> Source:
    source = collect_source(
        cls, base=Backbone, files=cls.files, observed=[*list_import_observations(cls), *observed]
    )
    _SOURCES[backbone] = source
    return source


def _require_frozen(backbone: Backbone) -> Backbone:
    """Refuse a backbone that learns, or whose weights have no hash; put it into eval mode."""
    learning = [name for name, value in backbone.named_parameters() if value.requires_grad]
    if learning:
        raise PluginError(
            f"backbone {backbone.name!r} is not frozen: {learning[0]!r} requires a gradient. {_FREEZE}"
        )
    if not backbone.weights_sha256:
        raise PluginError(
            f"backbone {backbone.name!r} has no hash of its weights. "
            "Next: call `self.record(ID)` at the end of `load` and `randomise`"
        )
    backbone.eval()
    return backbone


_FREEZE = "Next: call `self.freeze()` at the end of the backbone's constructor"
