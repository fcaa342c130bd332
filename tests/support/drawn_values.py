"""Weights of golden outputs, which tests of one file draw once."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

_LIMIT = 100_000_000
"""Numbers that are kept: those of one or two files."""
_kept: dict[tuple[str, str, tuple[int, ...], str], Tensor] = {}
"""Weights that were drawn last, by recipe, name, shape and salt."""


def read_values(draw: Callable[..., Tensor], name: str, shape: tuple[int, ...], salt: str) -> Tensor:
    """Return the values of a weight, which must not be written to; those drawn first are forgotten first.

    Args:
        draw: the function of a recipe; each module has one.
        name: the weight's name in the reference.
        shape: its shape.
        salt: the file's.
    """
    key = draw.__module__, name, shape, salt
    if key not in _kept:
        _kept[key] = draw(name, shape, salt)
        numbers = sum(values.numel() for values in _kept.values())
        while numbers > _LIMIT and len(_kept) > 1:
            numbers -= _kept.pop(next(iter(_kept))).numel()
    return _kept[key]
