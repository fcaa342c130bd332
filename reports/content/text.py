"""Formats numbers and cleans foreign text.  Every format of a report uses these functions."""

from __future__ import annotations

import math
from collections.abc import Collection

from fssbench.api import Estimate, clean_line as clean

__all__ = [
    "NOTHING",
    "clean",
    "describe_span",
    "format_count",
    "format_difference",
    "format_difference_interval",
    "format_interval",
    "format_parameters",
    "format_percent",
    "format_span",
]

NOTHING = "–"
"""Text that stands for a missing number."""


def format_percent(value: float, decimals: int = 1) -> str:
    """Return a figure in percent or points, or a dash for nan.

    Example:
        >>> format_percent(64.08)
        '64.1'
    """
    return f"{value:.{decimals}f}" if math.isfinite(value) else NOTHING


def format_interval(estimate: Estimate, decimals: int = 1) -> str:
    """Return the 95 % interval as `[62.3, 65.8]`, or the reason why there is none."""
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return clean(estimate.shortage)
    return f"[{format_percent(estimate.low, decimals)}, {format_percent(estimate.high, decimals)}]"


def format_difference_interval(low: float, high: float, shortage: str = "") -> str:
    """Return the interval of a difference with signs, such as `[+0.3, +1.8]`.

    Args:
        low: lower end in points.
        high: upper end in points.
        shortage: text that is returned if an end is not finite.
    """
    return (
        f"[{format_difference(low)}, {format_difference(high)}]"
        if math.isfinite(low) and math.isfinite(high)
        else shortage
    )


def format_difference(value: float) -> str:
    """Return a difference in points with its sign, or a dash for nan."""
    return f"{value:+.1f}".replace("-", "−") if math.isfinite(value) else NOTHING


def format_parameters(count: int) -> str:
    """Return a number of parameters: plain below 1,000, in thousands below 10,000, in millions above.

    Example:
        >>> format_parameters(675362), format_parameters(0), format_parameters(12)
        ('0.68 M', '0', '12')
    """
    if count < 1000:
        return str(count)
    return f"{count / 1e6:.2f} M" if count >= 10_000 else f"{count / 1e3:.1f} k"


def describe_span(counts: Collection[int], noun: str) -> str:
    """Return several counts of one kind of thing, such as `1 episode`, `600 episodes` or `40 to 60 episodes`."""
    return f"{format_span(counts)} {noun if max(counts) == 1 else f'{noun}s'}"


def format_span(counts: Collection[int]) -> str:
    """Return the smallest and the largest of several counts, such as `40 to 60`, or the count that all share."""
    low, high = min(counts), max(counts)
    return format_count(low) if low == high else f"{format_count(low)} to {format_count(high)}"


def format_count(count: int) -> str:
    """Return a count with a comma after each group of three digits, such as `2,400`."""
    return f"{count:,}"
