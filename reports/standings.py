"""Who is best in a column, and who is not significantly worse: of means, and of single folds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from fssbench.api import Cell, Results
from fssbench.comparing import differences
from fssbench.matching import comparable
from fssbench.row_keys import column_key

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
    for fold, numbers, alone in _contests(results):
        for top, *rivals in comparable(alone):
            gaps = differences(
                [(alone[top], alone[n]) for n in rivals],
                resamples=results.resamples,
                seed=results.bootstrap_seed,
            )
            if rivals:
                places[numbers[top], fold] = "best"
            for n, gap in zip(rivals, gaps, strict=True):
                if not gap.significant:
                    places[numbers[n], fold] = "tied"
    return places


def _contests(results: Results) -> Iterator[tuple[str, list[int], list[Cell]]]:
    """Each fold of a column: its number, the cells' numbers, and each cell with that fold alone."""
    groups: dict[tuple[object, ...], dict[int, Cell]] = defaultdict(dict)
    for n, cell in enumerate(results.cells):
        if len(cell.folds) + len(cell.missing) == 1:
            continue  # its mean is its fold
        for fold, run in cell.folds.items():
            if not math.isnan(run.miou.value):
                alone = replace(cell, folds={fold: run}, missing=(), miou=run.miou)
                groups[(str(fold), cell.backbone, *column_key(run))][n] = alone
    for key, members in groups.items():
        yield str(key[0]), list(members), list(members.values())
