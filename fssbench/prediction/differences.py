"""How much an image differs from the labelled examples: the limits from which a user is warned.

A method compares the image with the examples, so an image that looks entirely different is segmented by chance.
The limits are wide: they find a grey scan among colour photographs, not another lighting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SIDE = 4.0
"""Factor between the longer sides from which sizes differ grossly."""
_ASPECT = 2.0
"""Factor between the aspect ratios from which shapes differ grossly: all images become squares."""
_BRIGHTNESS = 80.0
"""Difference of mean grey values, of 255, from which brightnesses differ grossly."""
_CONTRAST = 4.0
"""Factor between the standard deviations of grey values from which contrasts differ grossly."""
_FLOOR = 2.0
"""Grey values added to standard deviations, so that flat images are compared too."""
_GREY, _COLOURED = 3.0, 15.0
"""Mean spread of the channels below which an image is grey, and above which it is coloured."""


@dataclass(frozen=True)
class Look:
    """Size and intensities of an image, as far as they are compared."""

    width: int
    height: int
    brightness: float
    """Mean grey value."""
    contrast: float
    """Standard deviation of the grey values."""
    colour: float
    """Mean difference between the largest and the smallest channel."""

    @classmethod
    def of(cls, size: tuple[int, int], pixels: NDArray[np.uint8]) -> Look:
        """Measure an image.

        Args:
            size: its own width and height.
            pixels: the image (S, S, 3) as the network sees it.
        """
        channels = pixels.astype(np.float32)
        grey = channels.mean(axis=2)
        spread = channels.max(axis=2) - channels.min(axis=2)
        return cls(*size, float(grey.mean()), float(grey.std()), float(spread.mean()))


def find_differences(look: Look, examples: Sequence[Look]) -> dict[str, str]:
    """Find in what an image differs grossly from every example.

    Returns:
        By kind, a sentence part such as `brightness 210 (examples: 80)`; empty if nothing differs.
    """
    differences = {}
    if all(_ratio(max(look.width, look.height), max(e.width, e.height)) > _SIDE for e in examples):
        listed = _join(f"{e.width}x{e.height}" for e in examples)
        differences["size"] = f"size {look.width}x{look.height} (examples: {listed})"
    if all(_ratio(look.width / look.height, e.width / e.height) > _ASPECT for e in examples):
        listed = _join(f"{e.width / e.height:.2g}" for e in examples)
        differences["shape"] = f"width / height {look.width / look.height:.2g} (examples: {listed})"
    if all(abs(look.brightness - e.brightness) > _BRIGHTNESS for e in examples):
        listed = _join(f"{e.brightness:.0f}" for e in examples)
        differences["brightness"] = f"brightness {look.brightness:.0f} of 255 (examples: {listed})"
    if all(_ratio(look.contrast + _FLOOR, e.contrast + _FLOOR) > _CONTRAST for e in examples):
        listed = _join(f"{e.contrast:.0f}" for e in examples)
        differences["contrast"] = f"contrast {look.contrast:.0f} (examples: {listed})"
    if all(_is_grey_against_colour(look, e) for e in examples):
        kinds = ("grey", "in colour") if look.colour < _GREY else ("in colour", "grey")
        differences["colour"] = f"the image is {kinds[0]} (examples: {kinds[1]})"
    return differences


def _is_grey_against_colour(one: Look, other: Look) -> bool:
    low, high = sorted((one.colour, other.colour))
    return low < _GREY and high > _COLOURED


def _ratio(one: float, other: float) -> float:
    return max(one / other, other / one)


def _join(parts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(parts))
