"""Draws plans from made-up lists, without data or list files."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

from fssbench.api import Entry, Plan, Pool
from fssbench.episodes.sampling import plan


class Stub:
    """As much of a data set as a plan is made from."""

    home = None

    def suggestions(self) -> list[tuple[Path, str]]:
        return []

    def __init__(self, pool: Pool, names: dict[int, str] | None = None) -> None:
        self.listed = pool
        self.named = names
        self.variant = None
        self.card = mock.Mock()
        self.card.name = "stub"

    def pool(self, split: str) -> Pool:
        return self.listed

    def classes(self) -> dict[int, str]:
        return self.named or {e.class_id: f"class {e.class_id}" for e in self.listed.entries}


def entries_of(counts: dict[int, int]) -> tuple[Entry, ...]:
    return tuple(Entry(f"{c}/{n}.jpg", c) for c, count in counts.items() for n in range(1, count + 1))


def drawn(
    benchmark: str, pool: Pool | tuple[Entry, ...], names: dict[int, str] | None = None, **options: Any
) -> Plan:
    listed = pool if isinstance(pool, Pool) else Pool(pool, "made up")
    with (
        mock.patch("fssbench.data.location.open_dataset", return_value=Stub(listed, names)),
        mock.patch("fssbench.data.location.find_data_folder", return_value=None),
    ):
        return plan(benchmark, **options)
