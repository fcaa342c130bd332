"""Selects the taps of a backbone that a method reads, and masks support features."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from fssbench.api import DataError, unknown

from .resize import read_size, resize

if TYPE_CHECKING:
    from fssbench.api import Backbone, Tap


def list_stages(backbone: Backbone, at_least: int) -> list[list[Tap]]:
    """List the taps that the backbone counts to each stage, shallow first.  Stage 0 (before any stage) is left out.

    These are `Backbone.stage`'s: the output of each block once, before its activation and before the last norm of
    a transformer.

    Args:
        backbone: a backbone with named taps.
        at_least: number of stages that the caller needs.

    Raises:
        DataError: if the backbone has fewer stages.
    """
    numbers = sorted({tap.stage for tap in backbone.taps.values() if tap.stage > 0})
    stages = [[backbone.taps[name] for name in backbone.stage(number)] for number in numbers]
    stages = [taps for taps in stages if taps]
    if len(stages) < at_least:
        raise DataError(
            f"backbone {backbone.name!r} (layout {backbone.layout!r}) has taps in {len(stages)} stages; "
            f"this method needs {at_least}. Next: choose another with --backbone"
        )
    return stages


def list_names(taps: list[Tap]) -> tuple[str, ...]:
    """Return the names of taps, in order."""
    return tuple(tap.name for tap in taps)


def mask_features(features: Tensor, mask: Tensor) -> Tensor:
    """Multiply support features (B, K, C, h, w) by their masks (B, K, H, W), resized to feature size."""
    return features * resize(mask, read_size(features)).unsqueeze(2)


def pick_last(backbone: Backbone) -> str:
    """Return the name of the last tap of the last stage."""
    return list_stages(backbone, 1)[-1][-1].name


def choose_tap(backbone: Backbone, asked: str, choose_usual: Callable[[Backbone], str]) -> str:
    """Return the tap that a setting names.

    Args:
        backbone: a backbone with named taps.
        asked: name of a tap, or `auto`.
        choose_usual: gives the tap for `auto`.

    Raises:
        UsageError: for an unknown tap, with its neighbours.
    """
    if asked == "auto":
        return choose_usual(backbone)
    if asked not in backbone.taps:
        raise unknown(f"tap of backbone {backbone.name}", asked, backbone.taps)
    return asked


def pick_normed(backbone: Backbone, tap: str) -> str:
    """Return the name of the tap after the last norm if the backbone has one, else the tap's own name."""
    return f"{tap}.norm" if f"{tap}.norm" in backbone.taps else tap


def pick_activated(backbone: Backbone, tap: str) -> str:
    """Return the name of the tap after the activation if the backbone has one, else the tap's own name."""
    return f"{tap}.relu" if f"{tap}.relu" in backbone.taps else tap
