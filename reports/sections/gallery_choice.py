"""Chooses the stored episodes that a report shows: best, median and worst of each method, and the most disputed.

The choice depends on the counts of the episodes with stored pictures.  All runs of a plan store the same episodes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fssbench.api import Cell, Panel, RunResult

from ..content.text import format_percent

DISPUTED = 3
"""Number of disputed episodes that are chosen."""
BEST, MEDIAN, WORST, DISPUTE = "best", "median", "worst", "disputed"
KINDS = (BEST, MEDIAN, WORST, DISPUTE)


@dataclass(frozen=True)
class Answer:
    """The prediction of one method in an episode."""

    method: int
    """Position of the method's cell."""
    run: RunResult
    panel: Panel


@dataclass
class Pick:
    """A chosen episode, and why it was chosen."""

    fold: int
    index: int
    answers: list[Answer]
    reasons: list[tuple[str, str]] = field(default_factory=list)
    """Kind and wording of each reason."""


def choose_episodes(cells: Sequence[Cell], names: Sequence[str]) -> tuple[list[Pick], int]:
    """Choose episodes of one benchmark and shot.

    Args:
        cells: the methods that are compared.
        names: names of the methods in the wording, in the order of `cells`.

    Returns:
        The chosen episodes, and the number of episodes to choose from.  The episodes of the best method come
            first, then
        the disputed ones, then those of the other methods in the order of their mIoU.
    """
    episodes = _list_episodes(cells)
    chosen: dict[int, Pick] = {}

    def take(pick: Pick, kind: str, wording: str) -> None:
        chosen.setdefault(id(pick), pick).reasons.append((kind, wording))

    order = sorted(range(len(cells)), key=lambda n: _rank_miou(cells[n].miou.value))
    for place, n in enumerate(order):
        for kind, pick in _find_extremes(episodes, n):
            take(pick, kind, f"{kind} of {names[n]}")
        if place == 0:
            for gap, pick in _find_disputed(episodes):
                take(pick, DISPUTE, f"disputed, IoU differs by {format_percent(gap)}")
    return list(chosen.values()), len(episodes)


def _rank_miou(miou: float) -> float:
    return math.inf if math.isnan(miou) else -miou


def _list_episodes(cells: Sequence[Cell]) -> list[Pick]:
    """List every episode of which some run stores pictures, by fold, plan and number."""
    picks: dict[tuple[int, str, int], Pick] = {}
    for n, cell in enumerate(cells):
        for fold, run in cell.folds.items():
            for panel in run.panels:
                key = fold, run.plan_sha256, panel.index
                pick = picks.setdefault(key, Pick(fold, panel.index, []))
                pick.answers.append(Answer(n, run, panel))
    return [picks[key] for key in sorted(picks)]


def _find_extremes(there: Iterable[Pick], method: int) -> list[tuple[str, Pick]]:
    """Find the best, median and worst episode of a method.  Of equal episodes the first is taken.

    If there are fewer than three episodes, there are fewer choices.
    """
    scored = [
        (a.panel.iou, place, pick)
        for place, pick in enumerate(there)
        for a in pick.answers
        if a.method == method and not math.isnan(a.panel.iou)
    ]
    if not scored:
        return []
    ranked = [pick for _, _, pick in sorted(scored, key=lambda entry: (-entry[0], entry[1]))]
    lowest = min(scored, key=lambda entry: (entry[0], entry[1]))[2]
    chosen: dict[int, tuple[str, Pick]] = {}
    for kind, pick in ((BEST, ranked[0]), (WORST, lowest), (MEDIAN, ranked[len(ranked) // 2])):
        chosen.setdefault(id(pick), (kind, pick))
    return sorted(chosen.values(), key=lambda entry: KINDS.index(entry[0]))


def _find_disputed(there: Iterable[Pick]) -> list[tuple[float, Pick]]:
    """Find the episodes with the largest differences between methods, each with the difference of IoU."""
    gaps = []
    for pick in there:
        scores = [a.panel.iou for a in pick.answers if not math.isnan(a.panel.iou)]
        if len(scores) > 1 and max(scores) > min(scores):
            gaps.append((max(scores) - min(scores), pick))
    return sorted(gaps, key=lambda entry: -entry[0])[:DISPUTED]
