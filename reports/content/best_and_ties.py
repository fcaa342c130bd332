"""Who is best in a column, and who is not significantly worse: of means, and of single folds.

The family of a single fold is every pair of methods on that fold of a benchmark and shot.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from fssbench.api import TOO_FEW, Cell, Results, column_key, comparable, first_run, verdicts

from .published import MEAN

Place = Literal["best", "tied"]


def standings(results: Results) -> dict[tuple[int, str], Place]:
    """Places of cells by their number in the results, and fold (or `mean`).

    Of means it is what the results say; of each fold of several, the same is asked of that fold alone.
    """
    places: dict[tuple[int, str], Place] = {}
    for n, cell in enumerate(results.cells):
        if cell.best or cell.tied:
            places[n, MEAN] = "best" if cell.best else "tied"
    for fold, alone in _folds(results).items():
        outcomes = verdicts(replace(results, cells=tuple(alone.values())))
        for numbers in _contests(alone):
            for top, *rivals in comparable([alone[n] for n in numbers]):
                for n in rivals:
                    outcome = outcomes[id(alone[numbers[top]]), id(alone[numbers[n]])].outcome
                    if outcome != TOO_FEW:
                        places[numbers[top], fold] = "best"
                    if outcome == "tie":
                        places[numbers[n], fold] = "tied"
    return places


def _folds(results: Results) -> dict[str, dict[int, Cell]]:
    """Cells with one fold alone, by that fold and by their number in the results."""
    alone: dict[str, dict[int, Cell]] = defaultdict(dict)
    for n, cell in enumerate(results.cells):
        if len(cell.folds) + len(cell.missing) == 1:
            continue  # its mean is its fold
        for fold, run in cell.folds.items():
            if not math.isnan(run.miou.value):
                alone[str(fold)][n] = replace(cell, folds={fold: run}, missing=(), miou=run.miou)
    return alone


def _contests(alone: dict[int, Cell]) -> Iterator[list[int]]:
    """Numbers of the cells of one column and backbone."""
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for n, cell in alone.items():
        groups[(cell.backbone, *column_key(first_run(cell)))].append(n)
    yield from groups.values()
