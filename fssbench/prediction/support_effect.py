"""Says whether the examples have an effect: an image is segmented again with their masks inverted.

`fssbench.evaluation.support_effect` says why, and compares the answers.
"""

from __future__ import annotations

from collections.abc import Sequence

from fssbench.evaluation.support_effect import UNCHANGED

CHECKED = 3
"""Images that are segmented twice."""


def describe_effect(effects: Sequence[float]) -> str | None:
    """Describe that the examples have no effect on any of the images checked; None if they have."""
    if not effects or max(effects) > UNCHANGED:
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
