"""The outcome of one episode of a run in bfloat16 or in batches that was computed in the exact way too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RoundingProbe:
    """Counts of an episode that was predicted again in float32, or at batch 1.  They are never part of a score."""

    index: int
    """Index of the episode."""
    inter: tuple[int, int]
    """Intersection of the second answer and the truth: background, foreground, in pixels."""
    union: tuple[int, int]
    """Union of that answer and the truth."""
    differing: int
    """Counted pixels in which both answers differ."""
