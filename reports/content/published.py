"""The published figures: Tables 1-6 of the PMNet paper (WACV 2024), transcribed number by number.

`data/published.csv` has one row per number.  `value` is the number as printed.  `note` contains remarks, for example
that a mean does not follow from its folds, or that a row measures something else.  Tables 4 and 5 print no venues, so
these come from the paper's reference list.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

from fssbench.api import Record, RunResult, clean_line

MEAN = "mean"
"""Value of `fold` for a mean over folds, and for benchmarks with one fold."""


class Published(Record):
    """One printed number."""

    table: int
    """Table of the paper, 1-6."""
    benchmark: str
    """Our benchmark id, with the variant if it is known.  `table3-average` is the last column of Table 3."""
    id: str
    """Our method id in lower case, with the ablation after a slash, such as `pmnet/b3dconv`."""
    method: str
    """Name of the method as printed."""
    venue: str
    backbone: str
    type: str
    """`prototype` or `pixelwise` if the table states it, else empty."""
    shot: int
    fold: str
    """`0` to `3`, or `mean`."""
    value: str
    """mIoU in percent, as printed."""
    learnable_millions: str
    """Learnable parameters in millions, as printed.  Empty if none are printed."""
    note: str

    @property
    def number(self) -> float:
        """The printed value as a number."""
        return float(self.value)

    @property
    def base(self) -> str:
        """The benchmark id without its variant."""
        return self.benchmark.partition(":")[0]

    @property
    def source(self) -> str:
        """Name of the table."""
        return f"PMNet paper, Table {self.table}"


@cache
def read_published() -> tuple[Published, ...]:
    """Return all 615 numbers, in the order of the tables."""
    file = resources.files("fssbench.reports") / "data" / "published.csv"
    lines = file.read_text(encoding="utf-8").splitlines()
    return tuple(Published.model_validate(row) for row in csv.DictReader(lines))


def find_published(benchmark: str, *, shot: int | None = None) -> tuple[Published, ...]:
    """Return the published numbers of a benchmark, of all its variants.

    Args:
        benchmark: our id.  A variant in it is ignored: the returned numbers state their own variant.
        shot: number of shots, or None for all.

    Example:
        >>> [p.value for p in find_published("pascal5i", shot=1) if p.id == "pmnet/background" and p.fold == "mean"]
        ['57.4']
    """
    base = benchmark.partition(":")[0]
    return tuple(p for p in read_published() if p.base == base and shot in (None, p.shot))


def of_method(id: str) -> dict[str, str]:
    """Return the printed means over folds of a method, for `fssbench show`.

    Args:
        id: method id of the tables, such as `pmnet`.  Ablations have ids of their own.

    Returns:
        The printed number and its table, by benchmark, backbone and shot.
    """
    return {
        f"{p.benchmark}, {p.backbone}, {p.shot}-shot, {p.method}": f"{p.value} ({p.source})"
        for p in read_published()
        if p.id == id and p.fold == MEAN
    }


def find_kind(run: RunResult) -> str:
    """Return how a method compares support and query: the kind that its run recorded, else the printed one.

    The kinds are `prototype`, `pixelwise`, `adaptation` and `other`.  The result is empty if the kind is not known.
    """
    recorded = run.manifest.context.kind
    return clean_line(recorded) if recorded else _read_printed_kinds().get(run.method.lower(), "")


@cache
def _read_printed_kinds() -> dict[str, str]:
    return {p.id: p.type for p in read_published() if p.type}
