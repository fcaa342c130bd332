"""Marks the tests as slow that `tests/slow.toml` names."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import pytest
from places import ROOT

Reasons = Mapping[str, Mapping[str, str]]
"""File of tests -> name of a test, with or without its case -> why CI can leave it out."""


def read_slow_tests(file: Path = ROOT / "tests" / "slow.toml") -> Reasons:
    """Read which tests are slow."""
    return tomllib.loads(file.read_text())


def mark_slow_tests(items: Iterable[pytest.Item], reasons: Reasons, whole: bool) -> None:
    """Mark the named tests as slow.

    Args:
        items: the collected tests.
        reasons: what `read_slow_tests` gives.
        whole: whether all tests of the collected files were collected.

    Raises:
        pytest.UsageError: if a file that was collected whole lacks a test that is named.
    """
    unseen = {file: set(names) for file, names in reasons.items()}
    seen_files = set()
    for item in items:
        file, _, name = item.nodeid.partition("::")
        seen_files.add(file)
        for each in _match(name, reasons.get(file, ())):
            unseen[file].discard(each)
            item.add_marker(pytest.mark.slow)
    gone = [f"{file}::{name}" for file in sorted(seen_files & set(unseen)) for name in sorted(unseen[file])]
    if whole and gone:
        raise pytest.UsageError(f"tests/slow.toml names tests that do not exist: {', '.join(gone)}")


def _match(name: str, named: Collection[str]) -> list[str]:
    return [each for each in (name, name.partition("[")[0]) if each in named]
