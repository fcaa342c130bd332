"""Finds the best method of a column and the methods that are not significantly worse, for means and single folds.

For a single fold, p values are adjusted over all pairs of methods on that fold of a benchmark and shot.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import Literal

from fssbench.api import TOO_FEW, Cell, Results, comparable, group_rivals, verdicts

from .published import MEAN

Standing = Literal["best", "tied"]


def find_best_and_tied(results: Results) -> dict[tuple[int, str], Standing]:
    """Return the standing of cells, by the cell's number in the results and the fold (or `mean`).

    The standings of means are those of the results.  If there are several folds, each fold is judged by itself too.
    """
    places: dict[tuple[int, str], Standing] = {}
    for n, cell in enumerate(results.cells):
        if cell.best or cell.tied:
            places[n, MEAN] = "best" if cell.best else "tied"
    for fold, alone in _group_by_fold(results).items():
        outcomes = verdicts(replace(results, cells=tuple(alone.values())))
        for numbers in group_rivals(alone):
            for top, *rivals in comparable([alone[n] for n in numbers]):
                for n in rivals:
                    outcome = outcomes[id(alone[numbers[top]]), id(alone[numbers[n]])].outcome
                    if outcome != TOO_FEW:
                        places[numbers[top], fold] = "best"
                    if outcome == "tie":
                        places[numbers[n], fold] = "tied"
    return places


def _group_by_fold(results: Results) -> dict[str, dict[int, Cell]]:
    """Return cells that are reduced to one fold, by that fold and by the cell's number in the results."""
    alone: dict[str, dict[int, Cell]] = defaultdict(dict)
    for n, cell in enumerate(results.cells):
        if len(cell.folds) + len(cell.missing) == 1:
            continue  # its mean is its fold
        for fold, run in cell.folds.items():
            if not math.isnan(run.miou.value):
                alone[str(fold)][n] = replace(cell, folds={fold: run}, missing=(), miou=run.miou)
    return alone
