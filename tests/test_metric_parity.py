"""The counts and scores equal those of three published evaluators, but for differences that have a name."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from evaluators import DIFFERENCES, IGNORED, HSNetMeter, Mask, PANetMeter, PFENetMeter
from places import ROOT

from fssbench.metrics import Score, count, score

CLASSES = [1, 4, 5, 9]
EPISODES = 1000
Row = tuple[int, Mask, Mask]
Meter = HSNetMeter | PFENetMeter | PANetMeter


def draw_episodes(*, full: bool) -> Iterator[Row]:
    """Draw predictions and truths with ignored pixels; with `full`, every truth has both labels."""
    rng = np.random.default_rng(7)
    for number in range(EPISODES):
        shape = tuple(rng.integers(2, 20, 2))
        level, skill = rng.uniform(-0.1, 1.1), rng.uniform(0, 1)
        truth = (rng.random(shape) < level).astype(np.uint8)
        prediction = np.where(rng.random(shape) < skill, truth, rng.random(shape) < 0.5).astype(np.uint8)
        truth[rng.random(shape) < rng.choice([0, 0.2])] = IGNORED
        if full:
            truth.flat[:2] = 0, 1
        yield CLASSES[number % len(CLASSES)], prediction, truth


def score_here(rows: list[Row]) -> Score:
    counts = [count(p == 1, t == 1, ignore=t == IGNORED) for _, p, t in rows]
    return score([c for c, _, _ in rows], [i for i, _ in counts], [u for _, u in counts], CLASSES)


def score_there(meter: Meter, rows: list[Row]) -> tuple[float, float]:
    for row in rows:
        meter.add(*row)
    return meter.scores()


@pytest.mark.parametrize("meter", [HSNetMeter, PFENetMeter, PANetMeter])
def test_a_thousand_episodes_have_the_scores_of_the_evaluator(meter: type[Meter]) -> None:
    rows = list(draw_episodes(full=True))
    here = score_here(rows)
    assert (here.miou, here.fb_iou) == pytest.approx(score_there(meter(CLASSES), rows), abs=1e-4)
    exact = HSNetMeter(CLASSES, np.float64) if meter is HSNetMeter else meter(CLASSES)
    assert (here.miou, here.fb_iou) == pytest.approx(score_there(exact, rows), abs=1e-6)


@pytest.mark.parametrize("meter", [HSNetMeter(CLASSES, np.float64), PFENetMeter(CLASSES)])
def test_truths_without_a_label_count_as_there(meter: Meter) -> None:
    rows = list(draw_episodes(full=False))
    assert any((t != 1).all() for _, _, t in rows)
    assert any((t != 0).all() for _, _, t in rows)
    here = score_here(rows)
    assert (here.miou, here.fb_iou) == pytest.approx(score_there(meter, rows), abs=1e-6)


def test_panets_meter_leaves_out_what_its_table_says_and_nothing_else() -> None:
    rows = list(draw_episodes(full=False))
    there = score_there(PANetMeter(CLASSES), rows)
    here = score_here(rows)
    assert abs(here.miou - there[0]) > 0.01
    counts = [count(p == 1, t == 1, ignore=t == IGNORED) for _, p, t in rows]
    has = [[(t == label).any() for label in (0, 1)] for _, _, t in rows]
    unions = [np.where(labels, u, 0) for labels, (_, u) in zip(has, counts, strict=True)]
    alike = score([c for c, _, _ in rows], [i for i, _ in counts], unions, CLASSES)
    assert (alike.miou, alike.fb_iou) == pytest.approx(there, abs=1e-6)


def test_hsnets_counters_lose_pixels_where_ours_do_not() -> None:
    meter = HSNetMeter([0])
    meter.inter[1] = meter.union[1] = 2**24
    one = np.ones((1, 1), np.uint8)
    meter.add(0, one, one)
    assert meter.union[1, 0] == 2**24
    assert score([0, 0], [[0, 2**24], [0, 1]], [[0, 2**24], [0, 2]], [0]).miou < 100


def test_the_documentation_names_every_difference() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    for text in DIFFERENCES.values():
        assert text in page
