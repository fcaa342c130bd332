"""How numbers and foreign text are written; every renderer says the same thing the same way."""

from __future__ import annotations

import math

from fssbench.api import Estimate, clean_line as clean

__all__ = [
    "NOTHING",
    "clean",
    "interval",
    "interval_of",
    "millions",
    "percent",
    "signed",
    "thousands",
]

NOTHING = "–"
"""Printed for a missing number."""


def percent(value: float) -> str:
    """A figure in percent, one decimal; a dash for nan.

    Example:
        >>> percent(64.08)
        '64.1'
    """
    return f"{value:.1f}" if math.isfinite(value) else NOTHING


def interval(estimate: Estimate) -> str:
    """The 95 % interval as `[62.3, 65.8]`; if there is none, the reason."""
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return clean(estimate.shortage)
    return f"[{percent(estimate.low)}, {percent(estimate.high)}]"


def interval_of(low: float, high: float, shortage: str = "") -> str:
    """The interval of a difference, its ends with their signs; if there is none, the reason."""
    return f"[{signed(low)}, {signed(high)}]" if math.isfinite(low) and math.isfinite(high) else shortage


def signed(value: float) -> str:
    """A difference in points, with its sign."""
    return f"{value:+.1f}".replace("-", "−") if math.isfinite(value) else NOTHING


def millions(count: int) -> str:
    """A parameter count, in millions from a thousand on.

    Example:
        >>> millions(675362), millions(0), millions(12)
        ('0.68 M', '0', '12')
    """
    if count < 1000:
        return str(count)
    return f"{count / 1e6:.2f} M" if count >= 10_000 else f"{count / 1e3:.1f} k"


def thousands(count: int) -> str:
    """A count with thin groups of three: `2,400`."""
    return f"{count:,}"
