"""Draws what a method does on episodes of a plan: `plan.show(3, method=method)`.  No run is stored."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from fssbench.contracts.episodes import Plan
from fssbench.contracts.methods import Method
from fssbench.drawing.figure import draw_episodes
from fssbench.drawing.plans import choose_places
from fssbench.errors import UsageError
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.settings import Settings
from fssbench.inspection.episodes import Inspection

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_inspection(plan: Plan, episodes: int | Sequence[int], method: Method) -> Figure:
    """Draw episodes with the prediction of a method, its errors and its maps.

    Args:
        plan: a plan that was made with `data`.
        episodes: how many of the first episodes, or the places of some in the plan.
        method: from `fssbench.load_method`; it stays on its device.

    Raises:
        UsageError: if the plan has no such episode, or the method is none.
        DataError: if files are missing or damaged.
        PluginError: if the method breaks its contract.
    """
    if not isinstance(method, Method):
        raise UsageError(
            f"method={method!r} is not a loaded method. Next: method=fssbench.load_method(NAME, plan=plan)"
        )
    places = frozenset(plan[place].index for place in choose_places(plan, episodes))
    device = next(method.parameters(), torch.empty(0)).device
    inspection = Inspection(with_pictures=True)
    with tempfile.TemporaryDirectory(prefix="fssbench-inspect-") as place:
        settings = Settings(
            out=Path(place), device=str(device), panels=0, only=places, inspect=inspection.see
        )
        _, failed = evaluate_all([method], plan, settings)
    if failed:
        raise failed[0][1]
    shown = inspection.episodes
    pictures = [replace(each.pictures, title=each.title) for each in shown if each.pictures is not None]
    marks = [*map(str, shown[0].marks), "not stored as a run"]
    return draw_episodes(pictures, title=shown[0].place, marks=marks)
