"""How many times as fast as a plain evaluation the harness is, per method, in CPU time of one thread.

Needs PASCAL VOC, or a sample of it, in the folder that FSSBENCH_DATA names:

    FSSBENCH_DATA=DATA pytest tests/performance/test_ratios.py -m slow
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
from reference_order import in_reference_order

import fssbench
from fssbench.contracts.episodes import Episode, Plan
from fssbench.efficiency.loops import compare_loops
from fssbench.efficiency.measure import BenchRequest, load_for_measuring
from fssbench.evaluation.settings import Settings

pytestmark = pytest.mark.usefixtures("one_thread")

DATA = os.environ.get("FSSBENCH_DATA")
"""Read here, because each test runs without the settings of whoever started it."""
CLASS = 12
"""Dog, of which each sample of PASCAL VOC has many."""
IMAGES, EPISODES = 6, 17
"""As many episodes per image as 1,000 episodes of a fold with 346 images."""
PLAIN_EPISODES = 3
NOISE = 0.85
"""Share of a ratio that must be there; times vary with the machine, and objects in size."""
RATIOS: dict[tuple[str, int], float] = {
    ("hsnet", 1): 3.0,
    ("pmnet", 1): 3.0,
    ("pmnet", 5): 3.0,
    ("patnet", 1): 2.5,
    ("dcama", 1): 2.2,
    ("panet", 1): 5.0,
    ("vat", 1): 3.0,
    ("pfenet", 1): 1.9,
}
"""Ratios that were measured, by method and shot, rounded down; docs/performance.md says what is aimed at."""
DIFFERENT = 1e-6
"""Share of the pixels that may be counted differently: logits differ by rounding."""
TIES = {"panet": 2}
"""Pixels of a short plan that may be counted differently, if more than one: both logits are equal but for rounding."""


def make_plan(shot: int, size: int) -> Plan:
    """Make a plan of few images of one class, which recur as often as in a whole plan."""
    if not DATA or not (Path(DATA) / "VOC2012").is_dir():
        pytest.skip("needs PASCAL VOC in the folder that FSSBENCH_DATA names")
    whole = fssbench.plan("pascal5i", fold=2, shot=shot, data=DATA, episodes=200, size=size)
    images = sorted({e.query for e in whole if e.class_id == CLASS})[:IMAGES]
    draw = random.Random(0)
    drawn = [draw.sample(images, 1 + shot) for _ in range(EPISODES)]
    episodes = (Episode(i, CLASS, query, tuple(rest)) for i, (query, *rest) in enumerate(drawn))
    return replace(whole, episodes=tuple(episodes))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "shot"), RATIOS)
def test_the_harness_is_faster_than_a_plain_loop(name: str, shot: int) -> None:
    method = load_for_measuring(BenchRequest(method=name, shot=shot, backbone="resnet50")).eval()
    plan = make_plan(shot, method.card.size)
    each = compare_loops(
        method, plan, Settings(), plain_episodes=PLAIN_EPISODES, around_plain=in_reference_order()
    )
    print(f"{name}, {shot}-shot: {each.cpu_ratio:.2f} times; {each}")
    assert each.different_pixels <= max(TIES.get(name, 1), DIFFERENT * each.pixels)
    assert each.cpu_ratio >= NOISE * RATIOS[name, shot]
    cache = 2048  # the default budget of the harness
    if each.plain_memory_mb is not None and each.harness_memory_mb is not None:
        assert each.harness_memory_mb <= 1.2 * (each.plain_memory_mb + cache)
