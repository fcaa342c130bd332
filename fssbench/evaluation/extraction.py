"""Features of an image from a backbone that may be anybody's: the same whatever ran before, and as its taps promise.

A backbone is a plugin, so what it raises names it, its random numbers come from the image alone, and features
that are not what its taps promise are refused before any method reads them.
"""

from __future__ import annotations

import copy
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fssbench.contracts.backbones import Backbone, Tap
from fssbench.contracts.precision import DTYPES, Precision
from fssbench.errors import PluginError
from fssbench.evaluation.isolation import generators_kept, seed_generators
from fssbench.evaluation.packed_convolutions import can_pack, pack_convolutions
from fssbench.evaluation.precision import computing_in
from fssbench.evaluation.processor_layout import (
    fold_norms,
    gains_from_layout,
    put_channels_first,
    put_channels_last,
)
from fssbench.evaluation.recorded_network import RecordedNetwork
from fssbench.evaluation.transfers import Download
from fssbench.loading.backbones import find_backbone_source
from fssbench.plugins import execution
from fssbench.plugins.calls import plugin_call, says_itself
from fssbench.plugins.import_files import drop_aliases
from fssbench.plural import describe_count


class Extractor:
    """A copy of a backbone that no method ever meets, and the taps that are asked of it.

    Args:
        backbone: as loaded; what a method does to it later does not change the features.
        replay: whether its work may be recorded and replayed; the device is then a CUDA device, and the precision the
            same in all calls.
        precision: of its products and convolutions; `bf16` gives features in bfloat16.

    Raises:
        PluginError: if the backbone cannot be copied.
    """

    def __init__(self, backbone: Backbone, precision: Precision = "float32", *, replay: bool = False) -> None:
        self._name = f"backbone {backbone.name!r}"
        self._source = find_backbone_source(backbone)
        backbone.zero_grad(set_to_none=True)
        with plugin_call(f"{self._name} cannot be copied:"):
            self._network = copy.deepcopy(backbone).eval()
        self._compute = (
            RecordedNetwork(self._network)
            if replay and says_itself(backbone, "replayable")
            else self._network
        )
        self._precision = precision
        self._layout = torch.contiguous_format
        if gains := gains_from_layout(self._network):
            fold_norms(self._network)
        if gains or precision != "float32":  # anybody's convolutions in bfloat16 take half the time so
            self._layout = torch.channels_last
            put_channels_last(self._network)
        if gains and can_pack(self._network):
            pack_convolutions(self._network, getattr(torch, DTYPES[precision]))
        self.distributions = self._source.distributions
        self.taps: Mapping[str, Tap] = self._network.taps
        self._tensors = list(self._network.state_dict(keep_vars=True).values())
        self._versions = [tensor._version for tensor in self._tensors]
        self.begun = 0
        """Number of images whose features were begun."""
        self._unconfirmed: deque[_Unconfirmed] = deque()

    def extract(self, pixels: Tensor, taps: Sequence[str], item: str) -> dict[str, Tensor]:
        """Compute the features of one image.

        Args:
            pixels: the normalised image (1, 3, H, W).
            taps: names of taps.
            item: id of the image, which seeds the random generators and is named in errors.

        Returns:
            Feature maps by tap, each (1, C, h, w).

        Raises:
            PluginError: if the backbone raises, changes its weights, reads code that its hash does not contain,
                or gives other features than its taps promise.
            torch.OutOfMemoryError: if the memory of the device runs out.
        """
        maps = self.begin(pixels, taps, item)
        _refuse_if_not_finite(self._unconfirmed.pop())
        return maps

    def begin(self, pixels: Tensor, taps: Sequence[str], item: str) -> dict[str, Tensor]:
        """Compute the features of one image, but leave it to `confirm` whether they are finite.

        A device then need not have computed them when this returns.  Arguments, result and errors are those of
        `extract`.
        """
        where = f"{self._name}, image {item!r}"
        try:
            with (
                plugin_call(f"{where}: raised", inside=where, passes=(torch.OutOfMemoryError,)),
                generators_kept(),
                torch.no_grad(),
                execution.observe() as observed,
            ):
                seed_generators(zlib.crc32(item.encode()))
                with computing_in(self._precision, pixels.device):
                    maps = self._compute(pixels.contiguous(memory_format=self._layout), taps)
                last = _require_maps(maps, self._network, taps, pixels.device)
                total = Download(last.sum())
            if observed:
                with plugin_call("", inside=where):
                    self._source.check(observed)
        finally:
            drop_aliases()
        if [tensor._version for tensor in self._tensors] != self._versions:
            raise PluginError(
                f"{where}: its weights changed while it computed features, so these would depend on the order of the "
                "images. Next: keep `forward` from writing to parameters and buffers"
            )
        self.begun += 1
        self._unconfirmed.append(_Unconfirmed(self.begun, where, last, total))
        if self._layout is torch.contiguous_format:
            return dict(maps)
        dtype = getattr(torch, DTYPES[self._precision])
        copies = put_channels_first([*maps.values()])
        return {tap: features.to(dtype) for tap, features in zip(maps, copies, strict=True)}

    def confirm(self, begun: int | None = None) -> None:
        """Refuse features from `begin` that are not finite; from then on it refuses at each call.

        Args:
            begun: number of images, from the first one on, whose features are looked at; all by default.  The device
                is waited for if it has not computed them.

        Raises:
            PluginError: naming the first image that has such features.
        """
        while self._unconfirmed and (begun is None or self._unconfirmed[0].number <= begun):
            _refuse_if_not_finite(self._unconfirmed[0])
            self._unconfirmed.popleft()


class _Unconfirmed(NamedTuple):
    """Features of an image of which nobody knows yet whether they are finite."""

    number: int
    """How many images were begun with this one."""
    where: str
    """The backbone and the image, for errors."""
    last: Tensor
    """Their last map."""
    total: Download
    """Sum of its values."""


def _refuse_if_not_finite(features: _Unconfirmed) -> None:
    if torch.isfinite(features.total.take()):
        return
    if count := int((~torch.isfinite(features.last)).sum()):
        values = describe_count(count, "value that is", "values that are")
        raise PluginError(f"{features.where}: the features have {values} NaN or infinite")


def _require_maps(maps: Any, network: Backbone, taps: Sequence[str], device: torch.device) -> Tensor:
    """Refuse features that are not what the taps promise.

    Returns:
        The last map.  What is not finite in an early map is not finite in it, and it is the smallest.
    """
    if not isinstance(maps, Mapping) or set(maps) != set(taps):
        given = sorted(map(str, maps)) if isinstance(maps, Mapping) else type(maps).__name__
        raise PluginError(f"forward returned {given}, expected feature maps of the taps {sorted(taps)}")
    for tap in taps:
        features, channels = maps[tap], network.taps[tap].channels
        expected = f"a floating-point tensor (1, {channels}, h, w) on {device}"
        if not isinstance(features, Tensor):
            raise PluginError(f"tap {tap!r} is {type(features).__name__}, expected {expected}")
        is_map = features.ndim == 4 and tuple(features.shape[:2]) == (1, channels) and features.numel() > 0
        if not (is_map and features.is_floating_point() and features.device == device):
            text = f"{features.dtype} {tuple(features.shape)} on {features.device}"
            raise PluginError(f"tap {tap!r} is {text}, expected {expected}")
    return maps[max(taps, key=list(network.taps).index)]
