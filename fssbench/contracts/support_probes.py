"""The outcome of one episode whose supports were replaced by those of another class."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SupportProbe:
    """Counts of an episode that was predicted a second time, with supports of another class.

    They are never part of a score.
    """

    index: int
    """Index of the episode, whose query and truth are unchanged."""
    class_id: int
    """Class of the supports that were shown instead; that of the episode if their masks were inverted."""
    inverted: bool
    """Whether the supports are those of the episode with inverted masks, so that the background is asked for."""
    supports: tuple[str, ...]
    """Items of the supports that were shown."""
    inter: tuple[int, int]
    """Intersection of the second answer and the truth: background, foreground, in pixels."""
    union: tuple[int, int]
    """Union of the second answer and the truth."""
    same: int
    """Object pixels that both answers have."""
    either: int
    """Object pixels that one of the two answers has, or both."""
