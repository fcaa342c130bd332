"""Weights of golden outputs, which tests of one file draw once."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

_LIMIT = 100_000_000
"""Numbers that are kept: those of one or two files."""


class _Kept:
    """Weights that were drawn last, by recipe, name, shape and salt."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str, tuple[int, ...], str], Tensor] = {}
        self._numbers = 0

    def read(self, draw: Callable[..., Tensor], name: str, shape: tuple[int, ...], salt: str) -> Tensor:
        """Return the values of a weight, drawn if they are not kept."""
        key = draw.__module__, name, shape, salt
        if key not in self._values:
            self._values[key] = draw(name, shape, salt)
            self._numbers += self._values[key].numel()
            while self._numbers > _LIMIT and len(self._values) > 1:
                self._numbers -= self._values.pop(next(iter(self._values))).numel()
        return self._values[key]


_KEPT = _Kept()


def read_values(draw: Callable[..., Tensor], name: str, shape: tuple[int, ...], salt: str) -> Tensor:
    """Return the values of a weight, which must not be written to; those drawn first are forgotten first.

    Args:
        draw: the function of a recipe; each module has one.
        name: the weight's name in the reference.
        shape: its shape.
        salt: the file's.
    """
    return _KEPT.read(draw, name, shape, salt)
