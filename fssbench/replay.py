"""Draws a stored plan again and says whether the same episodes come out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from fssbench.api import Plan
from fssbench.benchmarks import find
from fssbench.errors import DataError, FssbenchError
from fssbench.sampling import PROTOCOLS
from fssbench.sampling import plan as draw

Outcome = Literal["equal", "differs", "not compared"]


def draw_again(stored: Plan, data: str | Path | None, splits: str | Path | None) -> Plan:
    """Draw what a stored plan was drawn as, with its cap and its input size.

    Raises:
        FssbenchError: if that cannot be drawn here: another protocol version, no data, no such benchmark.
    """
    name = stored.protocol.partition("/")[0]
    if PROTOCOLS.get(name) != stored.protocol:
        raise DataError(f"protocol {stored.protocol} is not one of {', '.join(PROTOCOLS.values())}")
    return draw(
        stored.benchmark,
        fold=stored.fold,
        shot=stored.shot,
        protocol=name,
        data=data,
        splits=splits,
        seed=stored.seed,
        episodes=len(stored),
        size=None if stored.size == find(stored.benchmark).benchmark.size else stored.size,
    )


def compare_with_drawn(
    stored: Plan, data: str | Path | None, splits: str | Path | None
) -> tuple[Outcome, str]:
    """Compare a stored plan with what is drawn now.

    Returns:
        The outcome, and a sentence that begins with it.
    """
    try:
        drawn = draw_again(stored, data, splits)
    except FssbenchError as error:
        return "not compared", f"not compared: {error}"
    for episode in stored:
        if episode.index >= len(drawn) or drawn[episode.index] != episode:
            return "differs", (
                f"differs from index {episode.index} on: other files or lists than the plan was drawn from "
                f"(then: {stored.lists}; now: {drawn.lists})"
            )
    return "equal", "equal"
