"""Selects the taps of a backbone that a method reads, and masks support features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from fssbench.api import DataError

from .resize import read_size, resize

if TYPE_CHECKING:
    from fssbench.api import Backbone, Tap


def list_stages(backbone: Backbone, at_least: int) -> list[list[Tap]]:
    """List the taps before their activation, by stage, shallow first.  Stage 0 (before any stage) is left out.

    Args:
        backbone: a backbone with named taps.
        at_least: number of stages that the caller needs.

    Raises:
        DataError: if the backbone has fewer stages.
    """
    by_stage: dict[int, list[Tap]] = {}
    for tap in backbone.taps.values():
        if tap.stage > 0 and not tap.name.endswith(".relu"):
            by_stage.setdefault(tap.stage, []).append(tap)
    if len(by_stage) < at_least:
        raise DataError(
            f"backbone {backbone.name!r} (layout {backbone.layout!r}) has taps in {len(by_stage)} stages; "
            f"this method needs {at_least}. Next: choose another with --backbone"
        )
    return [by_stage[stage] for stage in sorted(by_stage)]


def list_names(taps: list[Tap]) -> tuple[str, ...]:
    """Return the names of taps, in order."""
    return tuple(tap.name for tap in taps)


def mask_features(features: Tensor, mask: Tensor) -> Tensor:
    """Multiply support features (B, K, C, h, w) by their masks (B, K, H, W), resized to feature size."""
    return features * resize(mask, read_size(features)).unsqueeze(2)


def pick_activated(backbone: Backbone, tap: str) -> str:
    """Return the name of the tap after the activation if the backbone has one, else the tap's own name."""
    return f"{tap}.relu" if f"{tap}.relu" in backbone.taps else tap
