"""Compares the small pictures of a run, which reports show, with those of its recomputation."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.contracts.results import Pictures
from fssbench.errors import DataError
from fssbench.runs.pictures import read_panels
from fssbench.runs.store import StoredRun
from fssbench.verification.seals import Finding, Outcome

CHECK = "pictures"
GREY = 8.0
"""Mean difference in grey levels up to which two pictures are equal: JPEG libraries round differently."""
SHARE = 0.02
"""Share of a small mask's pixels that may differ where the counts may differ too: on another machine."""


def compare_pictures(
    run: StoredRun, again: StoredRun, indices: Collection[int], *, exact: bool
) -> list[Finding]:
    """Compare the stored pictures of some episodes with those that were drawn again.

    Args:
        run: the stored run.
        again: its recomputation, with pictures of all these episodes.
        indices: the episodes that were computed again.
        exact: whether the predicted mask must be equal to the last pixel.

    Returns:
        One finding; none if the run has no pictures.
    """
    stored = {panel.index: panel for panel in read_panels(run)}
    if not stored:
        return []
    compared = sorted(stored.keys() & set(indices))
    if not compared:
        text = f"no episode that was computed again is among the {len(stored)} with pictures"
        return [Finding(CHECK, Outcome.NOT_CHECKED, f"{text}. Next: give a larger --share")]
    now = {panel.index: panel for panel in read_panels(again)}
    differing: list[str] = []
    for index in compared:
        try:
            names = list_differences(stored[index].pictures(), now[index].pictures(), exact=exact)
        except DataError as error:
            return [Finding(CHECK, Outcome.DIFFERS, str(error))]
        if names:
            differing.append(f"episode {index}: {', '.join(names)}")
    if differing:
        text = f"the pictures of {len(differing)} of {len(compared)} episodes differ; the first is {differing[0]}"
        return [Finding(CHECK, Outcome.DIFFERS, text)]
    return [
        Finding(CHECK, Outcome.EQUAL, f"those of {len(compared)} of {len(stored)} episodes were drawn again")
    ]


def list_differences(stored: Pictures, now: Pictures, *, exact: bool) -> list[str]:
    """Name what differs between the pictures of one episode."""
    share = 0.0 if exact else SHARE
    names = []
    if not _are_alike(stored.query, now.query):
        names.append("query")
    if not _agree(stored.truth, now.truth, 0.0):
        names.append("truth")
    if not _agree(stored.prediction, now.prediction, share):
        names.append("prediction")
    pairs = list(zip(stored.supports, now.supports, strict=False))
    if len(stored.supports) != len(now.supports) or not all(
        _are_alike(a, b) and _agree(c, d, 0.0) for (a, c), (b, d) in pairs
    ):
        names.append("supports")
    return names


def _are_alike(a: Image.Image, b: Image.Image) -> bool:
    if a.size != b.size:
        return False
    first, second = (np.asarray(image.convert("RGB"), dtype=np.float64) for image in (a, b))
    return float(np.abs(first - second).mean()) <= GREY


def _agree(a: NDArray[np.generic], b: NDArray[np.generic], share: float) -> bool:
    return a.shape == b.shape and float((a != b).mean()) <= share
