"""Numbers on the command line: bounded, so that no value overflows or asks for more than a machine has."""

from __future__ import annotations

import math
from typing import Any

import click

from fssbench.contracts.limits import LARGEST_SHOT, LARGEST_SIDE, LARGEST_WHOLE, SMALLEST_SIDE

SEEDS = 2**32
"""Number of seeds that NumPy's generator has."""


class Whole(click.IntRange):
    """A whole number from `low` on; one that 31 bits cannot hold is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert a text to a number."""
        number = super().convert(value, param, ctx)
        if self.max is None and number > LARGEST_WHOLE:
            self.fail(
                f"a number of {len(str(value))} digits is too large (at most {LARGEST_WHOLE})", param, ctx
            )
        return number


class Real(click.FloatRange):
    """A number that is finite."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert a text to a number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


SHOT = Whole(1, LARGEST_SHOT)
SIDE = Whole(SMALLEST_SIDE, LARGEST_SIDE)
SEED = Whole(0, SEEDS - 1)
THREADS = Whole(1, 1024)
WORKERS = Whole(0, 1024)
