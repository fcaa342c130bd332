"""Canonical JSON: one text for equal content, so that its hash identifies the content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def digest(content: Mapping[str, Any]) -> str:
    """Compute the sha256 of the canonical JSON of `content`.

    Args:
        content: what JSON can hold.  Neither the order of its keys nor tuple or list matters.

    Raises:
        ValueError: for a number that JSON does not know (nan, inf).

    Example:
        >>> digest({"b": (1, 2), "a": None}) == digest({"a": None, "b": [1, 2]})
        True
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
