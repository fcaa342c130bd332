"""Results that figures, tables and sentences of a report share.  Each is computed once per report.

Tables list every cell.  Figures and the summary take one cell per method, benchmark and shot.  Ablations are shown only
in their own section.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from fssbench.api import (
    TOO_FEW,
    Cell,
    Pair,
    Results,
    Sensitivity,
    Split,
    Stratum,
    SupportChoice,
    column_key,
    compute_sensitivity,
    compute_support_choices,
    describe_count,
    first_run,
    full_name,
    mark_kind,
    row_title,
    split_cells,
    turn_pair,
    verdicts,
    with_names,
)

from ..figures.style import MOST
from .breakdown import Part, split_by_class
from .model import find_title
from .text import clean

_WITHOUT_TRAINING = {"untrained", "random"}
"""Kinds of marks of methods with random weights.  Their figures say nothing about the method."""
_NAMED = 5
"""Results that only the tables show and that are named."""
_SplitFunction = Callable[..., list[tuple[Part, ...]]]


@dataclass(frozen=True)
class Place:
    """The cells of one benchmark and shot."""

    benchmark: str
    shot: int
    cells: dict[str, Cell]
    """Cell of each method."""


class Analysis:
    """The results of a report, and everything that is derived from them."""

    def __init__(self, results: Results) -> None:
        self.results = results
        named = with_names(results).cells
        self._names = {
            id(cell): clean(full_name(same)) for cell, same in zip(results.cells, named, strict=True)
        }

    def name(self, cell: Cell) -> str:
        """Return the name that the cell's method has everywhere in the report."""
        return self._names.get(id(cell)) or clean(full_name(cell))

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Cells without ablations.  If every cell is an ablation, all cells."""
        unablated = tuple(c for c in self.results.cells if not first_run(c).ablations)
        return unablated or self.results.cells

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """One place per benchmark and shot, with one cell per method.

        If several columns (seed, protocol, cap, size) were run, the place takes the column with the most methods.
        """
        by_column: dict[tuple[str, int], dict[object, list[Cell]]] = defaultdict(lambda: defaultdict(list))
        for cell in self.cells:
            by_column[cell.benchmark, cell.shot][column_key(first_run(cell))].append(cell)
        places = []
        for (benchmark, shot), columns in by_column.items():
            fullest = max(
                columns.values(),
                key=lambda cells: (len({self.name(c) for c in cells}), sum(c.episodes for c in cells)),
            )
            cell_by_method: dict[str, Cell] = {}
            for cell in fullest:
                cell_by_method.setdefault(self.name(cell), cell)
            places.append(Place(benchmark, shot, cell_by_method))
        return tuple(places)

    @cached_property
    def cells_not_shown(self) -> tuple[Cell, ...]:
        """Cells that only the tables show, not the figures and the summary."""
        shown = {id(cell) for place in self.places for cell in place.cells.values()}
        return tuple(cell for cell in self.cells if id(cell) not in shown)

    def describe_not_shown(self) -> str:
        """Say which results only the tables show; empty if the figures and the summary show all."""
        if not self.cells_not_shown:
            return ""
        hidden = {id(cell) for cell in self.cells_not_shown}
        named = zip(self.results.cells, with_names(self.results).cells, strict=True)
        names = list(dict.fromkeys(clean(row_title(same)) for cell, same in named if id(cell) in hidden))
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        count = len(self.cells_not_shown)
        verb = "are" if count > 1 else "is"
        return (
            f"{describe_count(count, 'further result')} (other seeds, protocols or sizes) {verb} "
            f"only in the tables of the benchmarks: {'; '.join(names[:_NAMED])}{more}."
        )

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Names of methods.  Those with most places come first, and among these the highest mean mIoU."""
        values: dict[str, list[float]] = defaultdict(list)
        for place in self.places:
            for name, cell in place.cells.items():
                if math.isfinite(cell.miou.value):
                    values[name].append(cell.miou.value)
                else:
                    values[name] += []
        return tuple(
            sorted(values, key=lambda n: (-len(values[n]), -sum(values[n]) / max(1, len(values[n])), n))
        )

    @cached_property
    def methods_in_figures(self) -> tuple[str, ...]:
        """Names of the methods that figures show."""
        return self.methods[:MOST]

    @cached_property
    def benchmarks(self) -> dict[str, str]:
        """Short title of each benchmark id, in the order of the places.  No two titles are equal."""
        cell_by_id = {place.benchmark: next(iter(place.cells.values())) for place in reversed(self.places)}
        ids = list(dict.fromkeys(place.benchmark for place in self.places))
        titles = [find_title(cell_by_id[i]) for i in ids]
        return {
            i: f"{title} ({clean(i.partition(':')[2])})" if titles.count(title) > 1 and ":" in i else title
            for i, title in zip(ids, titles, strict=True)
        }

    @cached_property
    def shots(self) -> tuple[int, ...]:
        """Numbers of shots in ascending order."""
        return tuple(sorted({place.shot for place in self.places}))

    def place(self, benchmark: str, shot: int) -> Place | None:
        """Return the place of a benchmark and shot, or None if nothing was measured there."""
        return next((p for p in self.places if (p.benchmark, p.shot) == (benchmark, shot)), None)

    @cached_property
    def pairs(self) -> dict[tuple[str, int], tuple[Pair, ...]]:
        """Paired comparisons of each place, with the same p values as `fssbench compare`."""
        return {(p.benchmark, p.shot): self.compare(list(p.cells.values())) for p in self.places}

    @cached_property
    def tallies(self) -> dict[tuple[str, str], tuple[int, int, int]]:
        """Wins, ties and losses over all places, for each ordered pair of methods.

        Only pairs that count as evidence are counted.
        """
        counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for pair in (pair for pairs in self.pairs.values() for pair in pairs if counts_as_evidence(pair)):
            a, b = self.name(pair.a), self.name(pair.b)
            counts[a, b][pair.outcome] += 1
            counts[b, a][turn_pair(pair).outcome] += 1
        return {two: (c["win"], c["tie"], c["loss"]) for two, c in counts.items()}

    def compare(self, cells: Sequence[Cell]) -> tuple[Pair, ...]:
        """Return the comparison of each pair of some cells of one place.  p is adjusted over the whole place."""
        couples = ((id(a), id(b)) for a, b in combinations(cells, 2))
        return tuple(self._verdicts[couple] for couple in couples if couple in self._verdicts)

    @cached_property
    def _verdicts(self) -> dict[tuple[int, int], Pair]:
        return verdicts(self.results)

    @cached_property
    def classes(self) -> dict[tuple[str, int], dict[str, tuple[Part, ...]]]:
        """IoU of each class by method, for each place with more than one class."""
        return {
            (p.benchmark, p.shot): self._parts(p, split_by_class)
            for p in self.places
            if max(len(run.classes) for cell in p.cells.values() for run in cell.folds.values()) > 1
        }

    @cached_property
    def strata(self) -> dict[Split, dict[tuple[str, int], dict[str, tuple[Stratum, ...]]]]:
        """Strata of each place by method, for each way to divide the episodes; only those with an episode somewhere."""
        divided: dict[Split, dict[tuple[str, int], dict[str, tuple[Stratum, ...]]]] = {}
        for split in Split:
            by_place = {(p.benchmark, p.shot): self._divide(p, split) for p in self.places}
            divided[split] = {place: strata for place, strata in by_place.items() if strata}
        return divided

    def _divide(self, place: Place, split: Split) -> dict[str, tuple[Stratum, ...]]:
        """Return the strata of the methods in figures; empty if no stratum of theirs has an episode."""
        names = [n for n in self.methods_in_figures if n in place.cells]
        strata = split_cells(
            [place.cells[n] for n in names],
            split,
            resamples=self.results.resamples,
            seed=self.results.bootstrap_seed,
            ranked_by=list(place.cells.values()),
        )
        divided = {name: row for name, row in zip(names, strata, strict=True) if row}
        return divided if any(s.episodes for row in divided.values() for s in row) else {}

    @cached_property
    def support_choices(self) -> tuple[SupportChoice, ...]:
        """How much the choice of supports moves mIoU, for each cell with several support sets per query."""
        return compute_support_choices(self.results)

    @cached_property
    def sensitivity(self) -> tuple[Sensitivity, ...]:
        """Effect of other supports, for each cell that was asked again with them."""
        return compute_sensitivity(self.results)

    def _parts(self, place: Place, split: _SplitFunction) -> dict[str, tuple[Part, ...]]:
        names = [n for n in self.methods_in_figures if n in place.cells]
        cells = [place.cells[n] for n in names]
        parts = split(cells, resamples=self.results.resamples, seed=self.results.bootstrap_seed)
        return dict(zip(names, parts, strict=True))


def describe_protocols(cells: Iterable[Cell]) -> str:
    """Name the protocols of some cells, and the setting if their benchmark and shot were measured in several."""
    listed = list(cells)
    protocols = sorted({clean(cell.protocol) for cell in listed})
    settings = (part for cell in listed for part in clean(cell.setting).split(", ") if part)
    return ", ".join(dict.fromkeys([*protocols, *sorted(settings)]))


def counts_as_evidence(pair: Pair) -> bool:
    """Return whether the pair has a verdict and both of its methods are trained."""
    return pair.outcome != TOO_FEW and is_trained(pair)


def is_trained(pair: Pair) -> bool:
    """Return whether neither method of the pair has random weights."""
    return not {mark_kind(m) for cell in (pair.a, pair.b) for m in cell.marks} & _WITHOUT_TRAINING


_last: Analysis | None = None


def analyse(results: Results) -> Analysis:
    """Return the analysis of the results.  The reporters of one `fssbench report` share it."""
    global _last
    if _last is None or _last.results is not results:
        _last = Analysis(results)
    return _last
