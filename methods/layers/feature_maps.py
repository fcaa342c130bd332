"""Which taps of a backbone to read, and support features under their masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from fssbench.api import DataError

from .resize import grid, resize

if TYPE_CHECKING:
    from fssbench.api import Backbone, Tap


def stages(backbone: Backbone, at_least: int) -> list[list[Tap]]:
    """The taps before their activation, by stage, shallow first; stage 0 (before any stage) is left out.

    Args:
        backbone: any backbone with named taps.
        at_least: stages the caller needs.

    Raises:
        DataError: where the backbone has fewer stages.
    """
    found: dict[int, list[Tap]] = {}
    for tap in backbone.taps.values():
        if tap.stage > 0 and not tap.name.endswith(".relu"):
            found.setdefault(tap.stage, []).append(tap)
    if len(found) < at_least:
        raise DataError(
            f"backbone {backbone.name!r} (layout {backbone.layout!r}) has taps in {len(found)} stages; "
            f"this method needs {at_least}. Next: choose another with --backbone"
        )
    return [found[stage] for stage in sorted(found)]


def names(taps: list[Tap]) -> tuple[str, ...]:
    """Names of taps, in order."""
    return tuple(tap.name for tap in taps)


def masked(features: Tensor, mask: Tensor) -> Tensor:
    """Support features (B, K, C, h, w) times their masks (B, K, H, W) at feature size."""
    return features * resize(mask, grid(features)).unsqueeze(2)


def activated(backbone: Backbone, tap: str) -> str:
    """The tap after a tap's activation, where the backbone has one; else the tap itself."""
    return f"{tap}.relu" if f"{tap}.relu" in backbone.taps else tap
