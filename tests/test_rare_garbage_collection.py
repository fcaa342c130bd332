"""Garbage is collected rarely while a verb compares many runs, and as often as before afterwards."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest
from command import run_command

from fssbench.rare_garbage_collection import garbage_collected_rarely


@pytest.fixture(autouse=True)
def usual() -> Iterator[tuple[int, int, int]]:
    """The thresholds of a new process; those of this one are restored."""
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield gc.get_threshold()
    gc.set_threshold(*before)


def _count_collections() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())


def _count_while_making_objects() -> int:
    before = _count_collections()
    kept = [[number] for number in range(40_000)]
    assert kept
    return _count_collections() - before


def test_fewer_collections_within_and_as_many_as_before_afterwards(usual: tuple[int, int, int]) -> None:
    with garbage_collected_rarely():
        assert _count_while_making_objects() <= 1
    assert gc.get_threshold() == usual
    assert _count_while_making_objects() > 20


@pytest.mark.parametrize("chosen", [(0, 10, 10), (1_000_000, 3, 3)])
def test_the_choice_of_a_program_is_kept(chosen: tuple[int, int, int]) -> None:
    gc.set_threshold(*chosen)
    with garbage_collected_rarely():
        assert gc.get_threshold() == chosen


CHILD = """
import atexit, gc
from fssbench.rare_garbage_collection import garbage_collected_rarely

kept = [[number] for number in range(1000)]
atexit.register(lambda: print(gc.get_freeze_count() >= 1000))  # the last handler
for _ in range(2):
    with garbage_collected_rarely():
        assert not gc.get_freeze_count()
assert not gc.get_freeze_count()
"""


def test_nothing_is_looked_through_when_the_process_ends() -> None:
    shown = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    assert shown.stdout == "True\n"


def test_a_verb_that_compares_collects_rarely_until_it_ends(
    monkeypatch: pytest.MonkeyPatch, usual: tuple[int, int, int]
) -> None:
    chosen: list[tuple[int, ...]] = []
    monkeypatch.setattr(gc, "set_threshold", lambda *given: chosen.append(given))
    assert run_command("env").exit_code == 0
    assert not chosen
    assert run_command("list", "reporters").exit_code == 0
    assert [first for first, *_ in chosen] == [50_000, 700]
