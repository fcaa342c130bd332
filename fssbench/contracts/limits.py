"""Limits of numbers, for the command line, which knows them before it imports numpy, and for calls from Python."""

from __future__ import annotations

LARGEST_WHOLE = 2**31 - 1
"""Largest whole number of an argument, unless it has a smaller limit."""
SMALLEST_SIDE = 32
LARGEST_SIDE = 8192
"""Bounds of the side of a network input, in pixels; below them, the last stage of a backbone has no cells."""
LARGEST_SHOT = 1000
"""Largest number of supports of an episode."""
LARGEST_PLAN = 1_000_000
"""Largest number of episodes of a plan."""
