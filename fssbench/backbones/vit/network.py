"""A network of timm as a backbone: its blocks or stages are taps, and its input is prepared as it was in pretraining.

Libraries disagree about what a tap of a transformer is.  Here `blockN` is the output of block N (from 0) without a
norm, and `blockN.norm` is the last norm of the network applied to it.  Both hold the patch tokens alone, as a map
(B, C, h, w); class and register tokens are removed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fssbench.api import MEAN, STD, Backbone, Tap, UsageError
from fssbench.backbones.vit.key_layouts import translate_state
from fssbench.backbones.vit.positions import use_hub_positions

_STAGES = 4


class TimmBackbone(Backbone):
    """A network that timm builds, without its classifier.

    A transformer has the taps `blockN` and `blockN.norm`.  Its blocks form four stages of equal depth, so methods
    that ask for stages work on it; all its taps have one stride.  Other networks have the taps `stageN`.

    Attributes:
        timm_name: name of the network in timm, without the tag of its weights.
        positions: whose rule of positions is followed.  `hub` is that of the authors' code, `timm` that of timm.
            They differ for DINOv2 without registers (resampling of the position table, except at 518 px), and for
            DINOv3 (the authors' files hold the rotary periods rounded to bfloat16).
        image_size: side of the input that the network is built for, if its tables depend on it; None for timm's.
    """

    timm_name: ClassVar[str]
    positions: ClassVar[Literal["hub", "timm"]] = "timm"
    image_size: ClassVar[int | None] = None
    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.network = _build_network(self.timm_name, self.image_size)
        if self.positions == "hub":
            use_hub_positions(self.network)
        self._patch = _read_patch(self.network)
        self._taps, self._places = _list_taps(self.network, self._patch)
        self.freeze()
        config = self.network.pretrained_cfg
        mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
        given_mean, given_std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        self._same_pixels = bool(torch.equal(mean, given_mean) and torch.equal(std, given_std))
        self.register_buffer("scale", given_std / std, persistent=False)
        self.register_buffer("shift", (given_mean - mean) / std, persistent=False)

    @property
    def taps(self) -> Mapping[str, Tap]:
        """Return all taps by name, in network order."""
        return self._taps

    def stage(self, number: int) -> tuple[str, ...]:
        """Return the names of one stage's taps without a norm, in network order."""
        return tuple(tap.name for tap in self._taps.values() if tap.stage == number and "." not in tap.name)

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Compute the feature maps (B, C, h, w) of normalised images (B, 3, H, W) at the named taps.

        A side that the patch does not divide is first resized to its nearest multiple.
        """
        self.select(taps)
        indices = sorted({self._places[tap][0] for tap in taps})
        maps = self.network.forward_intermediates(
            self._prepare(images), indices=indices, stop_early=True, intermediates_only=True
        )
        by_index = dict(zip(indices, maps, strict=True))
        return {tap: finish(by_index[index]) for tap in taps for index, finish in (self._places[tap],)}

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the entries of a published file under our names.

        Files of timm, of the authors and of transformers are recognised by their keys.

        Raises:
            DataError: for entries that this network cannot take.
        """
        own = {f"network.{name}" for name in self.network.state_dict()}
        if any(name in own for name in state):
            return dict(state)
        translated = translate_state(state, set(self.network.state_dict()), self.card.name)
        return {f"network.{name}": value for name, value in translated.items()}

    def _prepare(self, images: Tensor) -> Tensor:
        """Resize images to multiples of the patch, and normalise them as in pretraining."""
        height, width = images.shape[-2:]
        size = (_round_to_multiple(height, self._patch), _round_to_multiple(width, self._patch))
        if size != (height, width):
            images = functional.interpolate(
                images, size, mode="bilinear", antialias=True, align_corners=False
            )
        return images if self._same_pixels else images * self.scale + self.shift


def require_timm(wanted_by: str) -> Any:
    """Import timm.

    Args:
        wanted_by: what needs it, for the message.

    Raises:
        UsageError: if timm is not installed.
    """
    try:
        return import_module("timm")
    except ImportError as error:
        raise UsageError(
            f"{wanted_by} is built by the package timm, which cannot be imported ({error}). "
            'Next: `pip install "fssbench[timm]"`'
        ) from None


def _build_network(name: str, image_size: int | None) -> Any:
    """Build a network of timm without pretrained weights and without a classifier.

    Raises:
        UsageError: if timm is not installed, or the network cannot give intermediate maps.
    """
    timm = require_timm(f"backbone {name!r}")
    options = {"pretrained": False, "num_classes": 0} | (
        {} if image_size is None else {"img_size": image_size}
    )
    try:
        network = timm.create_model(name, **options, dynamic_img_size=True)
    except TypeError:  # a network without a position table does not know the option
        network = timm.create_model(name, **options)
    if not hasattr(network, "forward_intermediates"):
        raise UsageError(
            f"network {name!r} of timm has no `forward_intermediates`, so it gives no feature maps. "
            "Next: choose another network, such as timm:vit_small_patch14_dinov2.lvd142m"
        )
    return network


def _read_patch(network: Any) -> int:
    """Return the side of the patches of a transformer; 1 for other networks."""
    if not hasattr(network, "blocks"):
        return 1
    side: int = network.patch_embed.patch_size[0]
    return side


Finish = Callable[[Tensor], Tensor]


def _list_taps(network: Any, patch: int) -> tuple[dict[str, Tap], dict[str, tuple[int, Finish]]]:
    """List the taps of a network, and for each the index of its map and what is applied to it."""
    taps: dict[str, Tap] = {}
    places: dict[str, tuple[int, Finish]] = {}

    def add(tap: Tap, index: int, finish: Finish) -> None:
        taps[tap.name], places[tap.name] = tap, (index, finish)

    features = list(network.feature_info)
    if hasattr(network, "blocks"):
        for index, feature in enumerate(features):
            channels, stage = feature["num_chs"], 1 + _STAGES * index // len(features)
            add(Tap(f"block{index}", channels, patch, stage), index, nn.Identity())
            if (last := _find_last_norm(network, channels)) is not None:
                normed = Tap(f"block{index}.norm", last[0], patch, stage)
                add(normed, index, last[1])
        return taps, places
    for index, feature in enumerate(features):
        stride = feature["reduction"]
        stage = max(0, round(math.log2(stride)) - 1)
        add(Tap(f"stage{index}", feature["num_chs"], stride, stage), index, nn.Identity())
        norm = getattr(getattr(network, "head", None), "norm", None)
        if index == len(features) - 1 and isinstance(norm, nn.LayerNorm):
            add(Tap(f"stage{index}.norm", feature["num_chs"], stride, stage), index, norm)
    return taps, places


def _find_last_norm(network: Any, channels: int) -> tuple[int, Finish] | None:
    """Return the channels after the last norm of a transformer, and the norm as a function of a map."""
    neck = getattr(network, "neck", None)
    if isinstance(neck, nn.Sequential) and len(neck) and isinstance(neck[0], nn.Conv2d):
        return neck[0].out_channels, neck
    norm = getattr(network, "norm", None)
    return (channels, partial(_norm_channels, norm)) if isinstance(norm, nn.LayerNorm) else None


def _norm_channels(norm: nn.Module, maps: Tensor) -> Tensor:
    """Apply a norm of tokens to the channels of maps (B, C, h, w)."""
    normed: Tensor = norm(maps.permute(0, 2, 3, 1))
    return normed.permute(0, 3, 1, 2).contiguous()


def _round_to_multiple(side: int, patch: int) -> int:
    """Return the multiple of the patch that is nearest to a side, the larger of two.

    Example:
        >>> _round_to_multiple(400, 14), _round_to_multiple(400, 16), _round_to_multiple(5, 14)
        (406, 400, 14)
    """
    return max(patch, (2 * side + patch) // (2 * patch) * patch)
