"""The list of tests that CI leaves out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from slow_tests import mark_slow_tests, read_slow_tests

REASONS = {"tests/test_a.py": {"test_one": "all cases", "test_two[long]": "one case"}}


def collect(*names: str) -> list[Any]:
    """Return stand-ins of collected tests, which keep their marks."""
    return [SimpleNamespace(nodeid=f"tests/{name}", marks=[]) for name in names]


def mark(items: list[Any], whole: bool = True) -> list[str]:
    for item in items:
        item.add_marker = item.marks.append
    mark_slow_tests(items, REASONS, whole=whole)
    assert all(mark.name == "slow" for item in items for mark in item.marks)
    return [item.nodeid.partition("::")[2] for item in items if item.marks]


def test_a_test_is_named_whole_or_by_case() -> None:
    items = collect(
        "test_a.py::test_one[x]",
        "test_a.py::test_two[long]",
        "test_a.py::test_two[short]",
        "test_b.py::test_one",
    )
    assert mark(items) == ["test_one[x]", "test_two[long]"]


def test_a_name_without_a_test_ends_the_session() -> None:
    items = collect("test_a.py::test_one")
    with pytest.raises(pytest.UsageError, match=r"tests/test_a.py::test_two\[long\]"):
        mark(items)
    assert mark(items, whole=False) == ["test_one"]
    assert mark(collect("test_b.py::test_three")) == []


def test_every_reason_is_said() -> None:
    assert all(reason.strip() for tests in read_slow_tests().values() for reason in tests.values())
