"""The tests of counts and draws notice nearly every change of an operator or a number in them."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from mutants import Mutant, find_function, make_mutants, wait
from places import ROOT

import fssbench.metrics
from fssbench.episodes import sampling
from fssbench.errors import FssbenchError

SHARE = 0.9
"""Part of the mutants that the tests must notice; some changes alter nothing."""


@contextmanager
def mutated(module: Any, mutant: Mutant) -> Iterator[None]:
    function = find_function(module, mutant.function)
    original = function.__code__
    function.__code__ = mutant.code
    try:
        yield
    finally:
        function.__code__ = original


def count_by_hand(p: list[int], t: list[int], ignore: list[int]) -> list[list[int]]:
    seen = [(a, b) for a, b, i in zip(p, t, ignore, strict=True) if not i]
    both = [sum(a == b == label for a, b in seen) for label in (0, 1)]
    either = [sum(label in pair for pair in seen) for label in (0, 1)]
    return [both, either]


def test_every_mutant_of_the_counts_is_noticed_by_counting_by_hand() -> None:
    bits = list(itertools.product([0, 1], repeat=2))
    cases = [(list(p), list(t), list(i)) for p in bits for t in bits for i in bits]

    def is_right() -> bool:
        try:
            made = [np.array(fssbench.metrics.count(*case)).tolist() for case in cases]
            without = [np.array(fssbench.metrics.count(p, t)).tolist() for p, t, _ in cases]
        except (FssbenchError, TypeError, NameError, UnboundLocalError):
            return False
        return made == [count_by_hand(*case) for case in cases] and without == [
            count_by_hand(p, t, [0, 0]) for p, t, _ in cases
        ]

    assert is_right()
    mutants = list(make_mutants(fssbench.metrics, "count"))
    assert len(mutants) > 10
    for mutant in mutants:
        with mutated(fssbench.metrics, mutant):
            assert not is_right(), mutant.change


def test_every_mutant_of_the_shuffle_is_noticed() -> None:
    names = ["a", "b", "c", "d", "e"]
    streams = [[random.Random(seed).getrandbits(64) for _ in range(40)] for seed in range(5)]
    for fair in (2**64 - 1, 2**64, 2**64 - 2**64 % 3):  # for 5, 4 and 3 items
        streams += [[*range(before), fair - 1, fair, *range(38)] for before in range(3)]

    def draw() -> list[list[str]] | None:
        try:
            return [sampling.shuffle_items(names, n, iter(s).__next__) for s in streams for n in (1, 3, 5)]
        except (IndexError, StopIteration, ZeroDivisionError):
            return None

    expected = draw()
    for mutant in make_mutants(sampling, "shuffle_items"):
        with mutated(sampling, mutant):
            assert draw() != expected, mutant.change


def test_a_mutant_that_never_ends_is_killed() -> None:
    endless = os.posix_spawn(sys.executable, [sys.executable, "-c", "while True: pass"], os.environ)
    assert os.WTERMSIG(wait(endless, 0.2)) == signal.SIGKILL
    ended = os.posix_spawn(sys.executable, [sys.executable, "-c", "raise SystemExit(3)"], os.environ)
    assert os.waitstatus_to_exitcode(wait(ended, 60)) == 3


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("module", "tests"),
    [
        ("fssbench.metrics", ["tests/test_metrics.py"]),
        (
            "fssbench.episodes.sampling",
            [
                "tests/episodes/test_sampling.py",
                "tests/episodes/test_support_sets.py",
                "tests/episodes/test_support_set_draws.py",
            ],
        ),
    ],
)
def test_nine_tenths_of_the_mutants_are_noticed(module: str, tests: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "support" / "mutants.py", module, *tests],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    survivors = [f"{row['where']}: {row['change']}" for row in rows if not row["noticed"]]
    assert len(rows) > 40
    assert len(survivors) <= (1 - SHARE) * len(rows), survivors
