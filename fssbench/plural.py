"""Counts and lists in messages: one thing has the singular, and a long list is cut short."""

from __future__ import annotations

from collections.abc import Iterable


def describe_count(number: int, one: str, several: str = "") -> str:
    """Return a number with its noun in the singular or the plural.

    Args:
        number: how many there are.
        one: the singular, with its verb if a verb follows ("image is").
        several: the plural; by default the singular with an `s`.

    Example:
        >>> describe_count(1, "episode"), describe_count(2594, "image"), describe_count(0, "entry", "entries")
        ('1 episode', '2,594 images', '0 entries')
        >>> describe_count(1, "image is", "images are")
        '1 image is'
    """
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def join_some(texts: Iterable[str], most: int, separator: str = ", ") -> str:
    """Join texts; of many, the first `most`, and the number of the others.

    Example:
        >>> join_some(["a", "b", "c"], 2), join_some(["a", "b", "c"], 1, "; ")
        ('a, b and 1 more', 'a; and 2 more')
    """
    listed = list(texts)
    further = len(listed) - most
    more = f"{' ' if separator == ', ' else separator}and {further:,} more" if further > 0 else ""
    return separator.join(listed[:most]) + more
