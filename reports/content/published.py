"""The published figures: Tables 1-6 of the PMNet paper (WACV 2024), transcribed number by number.

`data/published.csv` holds one row a number.  `value` is as printed; what is odd about a number
(means that do not follow from their folds, rows that measure something else) stands in `note`.
Venues of Tables 4 and 5, which print none, are those of the paper's reference list.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

from fssbench.api import Record, RunResult, clean_line

MEAN = "mean"
"""`fold` of a mean over folds, and of benchmarks with one fold."""


class Published(Record):
    """One printed number."""

    table: int
    """Table of the paper, 1-6."""
    benchmark: str
    """Our benchmark id, with the variant if it is known; `table3-average` is Table 3's last column."""
    id: str
    """Our method id in lower case, with the ablation after a slash: `pmnet/b3dconv`."""
    method: str
    """Method as printed."""
    venue: str
    backbone: str
    type: str
    """`prototype` or `pixelwise` if the table says so."""
    shot: int
    fold: str
    """`0` to `3`, or `mean`."""
    value: str
    """mIoU in percent, as printed."""
    learnable_millions: str
    """Learnable parameters in millions, as printed; empty where none are."""
    note: str

    @property
    def number(self) -> float:
        """The printed value as a number."""
        return float(self.value)

    @property
    def base(self) -> str:
        """The benchmark without its variant."""
        return self.benchmark.partition(":")[0]

    @property
    def source(self) -> str:
        """Where it is printed."""
        return f"PMNet paper, Table {self.table}"


@cache
def records() -> tuple[Published, ...]:
    """All 615 numbers, in the order of the tables."""
    file = resources.files("fssbench.reports") / "data" / "published.csv"
    lines = file.read_text(encoding="utf-8").splitlines()
    return tuple(Published.model_validate(row) for row in csv.DictReader(lines))


def lookup(benchmark: str, *, shot: int | None = None) -> tuple[Published, ...]:
    """Numbers of a benchmark, whatever variant they measure.

    Args:
        benchmark: our id; a variant in it is not compared, so that rows of another variant are included and
            can be told apart.
        shot: only this shot; every shot if None.

    Example:
        >>> [p.value for p in lookup("pascal5i", shot=1) if p.id == "pmnet/background" and p.fold == "mean"]
        ['57.4']
    """
    base = benchmark.partition(":")[0]
    return tuple(p for p in records() if p.base == base and shot in (None, p.shot))


def of_method(id: str) -> dict[str, str]:
    """Means over folds that are printed for a method, for `fssbench show`.

    Args:
        id: as in the tables, `pmnet`; ablations have ids of their own.

    Returns:
        By benchmark, backbone and shot, the number as printed and its table.
    """
    return {
        f"{p.benchmark}, {p.backbone}, {p.shot}-shot, {p.method}": f"{p.value} ({p.source})"
        for p in records()
        if p.id == id and p.fold == MEAN
    }


def kind_of(run: RunResult) -> str:
    """Return how a method compares support and query: as its run recorded it, else as the paper prints it.

    The kinds are `prototype`, `pixelwise`, `adaptation` and `other`; empty if it is not known.
    """
    recorded = run.manifest.get("context", {}).get("kind")
    return clean_line(recorded) if recorded else _printed_kinds().get(run.method.lower(), "")


@cache
def _printed_kinds() -> dict[str, str]:
    return {p.id: p.type for p in records() if p.type}
