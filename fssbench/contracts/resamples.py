"""How often the bootstrap resamples, if the user names no other number.

The numbers have a module of their own because options of the command line show them, and those import no numpy.
"""

from __future__ import annotations

from typing import Final

RESAMPLES: Final = 1000
"""Resamples behind the interval of a figure."""
PAIR_RESAMPLES: Final = 10_000
"""Fewest resamples behind the p of a pair of methods."""
