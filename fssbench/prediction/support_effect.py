"""Whether the examples have an effect: an image is segmented again with their masks inverted.

A method that answers the same to object and background does not look at the masks, for example because its weights
find what is salient.  Its answer may look good, and yet it is no answer to the question.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CHECKED = 3
"""Images that are segmented twice."""
_UNCHANGED = 0.05
"""Largest share of changed pixels at which the answers count as the same."""


def measure_effect(mask: NDArray[np.bool_], inverted: NDArray[np.bool_]) -> float:
    """Measure the share of the pixels of either object that belong to one of them only: 1 minus their IoU.

    Args:
        mask: the answer (H, W).
        inverted: the answer (H, W) to the inverted examples.

    Returns:
        0 for equal answers, two empty ones included; 1 if they have no pixel in common.
    """
    union = int(np.count_nonzero(mask | inverted))
    return int(np.count_nonzero(mask ^ inverted)) / union if union else 0.0


def describe_effect(effects: Sequence[float]) -> str | None:
    """Describe that the examples have no effect on any of the images checked; None if they have."""
    if not effects or max(effects) > _UNCHANGED:
        return None
    changed = (
        f"at most {100 * max(effects):.0f} % of the object's pixels change"
        if max(effects)
        else "no pixel changes"
    )
    images = (
        "the image that was checked" if len(effects) == 1 else f"all {len(effects)} images that were checked"
    )
    return (
        f"the answer does not depend on the examples: {changed} on {images} if their masks are inverted. Look at the "
        "overlays; try another method or more examples"
    )
