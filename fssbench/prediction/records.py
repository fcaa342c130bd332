"""What the folder of a prediction stores: its manifest, and one record per finished image."""

from __future__ import annotations

from typing import Any

from fssbench.contracts.records import Items, StoredRecord

Number = float | int
RULES = "1"
"""Version of the rules that lead from images and logits to masks."""


class ImageRecord(StoredRecord):
    """One finished image."""

    place: str
    """Path of the image relative to the folder of the prediction."""
    file: str
    """Path of the image as the user gave it."""
    name: str
    """Output name: mask, overlay and thumbnail are called so."""
    sha256: str
    """Hash of the image file."""
    state: Items[int]
    """Size and times of the image file when it was read."""
    mask_sha256: str
    """Hash of the mask file."""
    width: int
    height: int
    foreground: Number
    """Share of the pixels that belong to the object."""
    confidence: Number
    """Mean probability of the answer, by the method's own logits."""
    object_confidence: Number | None
    """The same within the mask; None if it is empty."""
    seconds: Number
    """Time of network and method, without reading and writing."""
    is_example: bool
    """Whether the image is one of the labelled examples."""
    differences: dict[str, str]
    """In what it differs grossly from the examples, by kind."""
    support_effect: Number | None = None
    """Share of the object's pixels that change if the examples' masks are inverted; None if it was not measured."""


class PredictionManifest(StoredRecord):
    """The facts of a prediction."""

    format: int
    identity: str
    """Hash of `settings`."""
    settings: dict[str, Any]
    """Everything that an answer depends on besides the image.  Other values cannot continue in this folder."""
    context: dict[str, Any]
    """Where and how the folder was begun; nothing depends on it."""
