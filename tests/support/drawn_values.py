"""Weights of golden outputs, which tests of one file draw once."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

_LIMIT = 100_000_000
"""Numbers that are kept: those of one or two files."""
_KEPT: dict[tuple[str, str, tuple[int, ...], str], Tensor] = {}


def read_values(draw: Callable[..., Tensor], name: str, shape: tuple[int, ...], salt: str) -> Tensor:
    """Return the values of a weight, which must not be written to; those drawn first are forgotten first.

    Args:
        draw: the function of a recipe; each module has one.
        name: the weight's name in the reference.
        shape: its shape.
        salt: the file's.
    """
    key = draw.__module__, name, shape, salt
    _KEPT[key] = _KEPT.pop(key) if key in _KEPT else draw(name, shape, salt)
    while sum(value.numel() for value in _KEPT.values()) > _LIMIT and len(_KEPT) > 1:
        del _KEPT[next(iter(_KEPT))]
    return _KEPT[key]
