from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco
from sklearn.metrics import confusion_matrix

from fssbench.errors import UsageError
from fssbench.metrics import (
    count,
    mark_missing_classes,
    score,
    score_together,
    select_scored_classes,
    sum_by_class,
)

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))


@st.composite
def masks(draw: st.DrawFn, number: int) -> list[np.ndarray]:
    shape = draw(SHAPES)
    return [draw(hnp.arrays(np.bool_, shape)) for _ in range(number)]


def test_golden(shared: Path) -> None:
    script = shared / "golden" / "check_metrics.py"
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.strip() == "2 metric files equal"


@settings(max_examples=200, deadline=None)
@given(masks(3))
def test_equals_scikit_learn(three: list[np.ndarray]) -> None:
    p, t, ignore = three
    inter, union = count(p, t, ignore)
    kept = ~ignore
    matrix = confusion_matrix(t[kept], p[kept], labels=[False, True]) if kept.any() else np.zeros((2, 2), int)
    assert inter.tolist() == np.diag(matrix).tolist()
    assert union.tolist() == (matrix.sum(0) + matrix.sum(1) - np.diag(matrix)).tolist()


@settings(max_examples=200, deadline=None)
@given(masks(2))
def test_equals_pycocotools(two: list[np.ndarray]) -> None:
    p, t = two
    inter, union = count(p, t)
    encoded = [coco.encode(np.asfortranarray(m.astype(np.uint8))) for m in two]
    theirs = float(coco.iou([encoded[0]], [encoded[1]], [0])[0, 0])
    if union[1]:
        assert inter[1] / union[1] == pytest.approx(theirs)


@settings(max_examples=200, deadline=None)
@given(masks(2))
def test_complement_swaps_background_and_foreground(two: list[np.ndarray]) -> None:
    p, t = two
    for a, b in zip(count(p, t), count(~p, ~t), strict=True):
        assert a.tolist() == b[::-1].tolist()


@settings(max_examples=200, deadline=None)
@given(masks(3))
def test_ignored_pixels_change_nothing(three: list[np.ndarray]) -> None:
    p, t, ignore = three
    before = [c.tolist() for c in count(p, t, ignore)]
    noise = np.random.default_rng(0).random(p.shape) < 0.5
    flipped = np.where(ignore, noise, p), np.where(ignore, ~noise, t)
    assert [c.tolist() for c in count(*flipped, ignore)] == before
    wider = [np.pad(m, 2, constant_values=True) for m in three]
    assert [c.tolist() for c in count(*wider)] == before


COUNTS = st.lists(
    st.tuples(st.integers(0, 3), *[st.integers(0, 10**6)] * 4).map(
        lambda r: (r[0], (r[1], r[2]), (r[1] + r[3], r[2] + r[4]))
    ),
    min_size=1,
    max_size=20,
)


def _columns(rows: list) -> tuple[list, list, list]:
    return tuple(map(list, zip(*rows, strict=True)))


@settings(max_examples=200, deadline=None)
@given(COUNTS, st.randoms(use_true_random=False), st.sampled_from(["zero", "exclude"]))
def test_scores_ignore_order_and_lie_in_range(rows: list, random: object, absent: str) -> None:
    one = score(*_columns(rows), classes=range(4), absent=absent)
    shuffled = list(rows)
    random.shuffle(shuffled)
    other = score(*_columns(shuffled), classes=range(4), absent=absent)
    assert repr(one) == repr(other)  # nan equals nan in text
    assert 0 <= one.fb_iou <= 100
    assert np.isnan(one.miou) or 0 <= one.miou <= 100
    assert one.episodes == len(rows)


@settings(max_examples=200, deadline=None)
@given(COUNTS, st.integers(0, 20))
def test_counts_of_parts_add_up(rows: list, cut: int) -> None:
    ids, inter, _ = _columns(rows)
    whole = sum_by_class(ids, inter, range(4))
    parts = [sum_by_class(ids[s], inter[s], range(4)) for s in (slice(0, cut), slice(cut, None)) if ids[s]]
    assert sum(parts).tolist() == whole.tolist()


@pytest.mark.parametrize("large", [2**24, 2**31, 2**40])
def test_large_counts_are_exact(large: int) -> None:
    assert sum_by_class([0, 0], [[large, large], [1, 1]], [0]).tolist() == [[large + 1, large + 1]]


def _iou(inter: int, union: int) -> float:
    return 0.0 if union == 0 else 100 * inter / union


# Two classes; each one's single episode has (prediction, truth) empty or full on two pixels.
# Foreground counts by hand: both empty 0/0, one of them empty 0/2, both full 2/2.
BY_HAND = {(0, 0): (0, 0), (0, 1): (0, 2), (1, 0): (0, 2), (1, 1): (2, 2)}


@pytest.mark.parametrize(("a", "b"), list(itertools.product(BY_HAND, BY_HAND)))
def test_empty_masks_under_both_rules(a: tuple[int, int], b: tuple[int, int]) -> None:
    counts = [count(np.full(2, p, bool), np.full(2, t, bool)) for p, t in (a, b)]
    inter, union = [c[0] for c in counts], [c[1] for c in counts]
    assert [(i[1], u[1]) for i, u in counts] == [BY_HAND[a], BY_HAND[b]]
    ious = [_iou(*BY_HAND[a]), _iou(*BY_HAND[b])]
    zero = score([3, 7], inter, union, classes=[3, 7], absent="zero")
    assert zero.miou == sum(ious) / 2
    assert zero.per_class == {3: ious[0], 7: ious[1]}
    exclude = score([3, 7], inter, union, classes=[3, 7], absent="exclude")
    there = [v for v, key in zip(ious, (a, b), strict=True) if key != (0, 0)]
    assert exclude.absent == zero.absent == tuple(c for c, key in ((3, a), (7, b)) if key == (0, 0))
    if there:
        assert exclude.miou == sum(there) / len(there)
    else:
        assert np.isnan(exclude.miou)


def test_takes_tensors_and_lists() -> None:
    p, t = torch.tensor([[1, 1], [0, 0]]), [[1, 0], [0, 0]]
    assert [c.tolist() for c in count(p, t)] == [[2, 1], [3, 2]]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (([[0, 2]], [[0, 1]]), "prediction must be binary .* holds \\[0, 2\\]"),
        (([[0.5]], [[1]]), "prediction must be binary"),
        (([[0, 1]], [[0], [1]]), "the shapes of .* differ"),
        (([[0, 1]], [[0, 1]], [[0]]), "the shapes of ignore .* differ"),
        (([[np.nan]], [[1.0]]), "must be binary"),
    ],
)
def test_count_refuses(arguments: tuple, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        count(*arguments)


def test_score_refuses() -> None:
    with pytest.raises(UsageError, match="classes \\[9\\]"):
        score([9], [[1, 1]], [[1, 1]], classes=[0])
    with pytest.raises(UsageError, match="at least one class"):
        score([], [], [], classes=[])


@pytest.mark.parametrize("absent", ["zero", "exclude"])
@pytest.mark.parametrize(("runs", "classes", "episodes"), [(1, 1, 3), (3, 9, 40), (7, 200, 300), (2, 3, 0)])
def test_runs_scored_together_have_the_digits_of_each(
    absent: str, runs: int, classes: int, episodes: int
) -> None:
    draw = np.random.default_rng(classes)
    ids = draw.integers(0, classes, episodes)  # of 200 classes some have no episode
    union = draw.integers(0, 10**6, (runs, episodes, 2)) * draw.integers(0, 2, (runs, episodes, 2))
    inter = union // draw.integers(1, 9, union.shape)
    wide = np.concatenate([inter, union], axis=2).transpose(1, 0, 2).reshape(episodes, 4 * runs)
    together = score_together(ids, wide, range(classes), absent=absent)
    each = [score(ids, i, u, range(classes), absent=absent) for i, u in zip(inter, union, strict=True)]
    assert repr(together) == repr([(one.miou, one.fb_iou) for one in each])


@pytest.mark.parametrize("absent", ["zero", "exclude"])
def test_a_union_of_one_pixel_is_not_an_empty_one(absent: str) -> None:
    ids, inter, union = np.array([4, 7]), np.array([[0, 1], [1, 0]]), np.array([[0, 1], [1, 1]])
    alone = score(ids, inter, union, [4, 7], absent=absent)
    assert (alone.per_class, alone.miou, alone.fb_iou) == ({4: 100.0, 7: 0.0}, 50.0, 75.0)
    together = score_together(ids, np.hstack([inter, union]), [4, 7], absent=absent)
    assert together == [(50.0, 75.0)]


def test_runs_scored_together_are_refused_as_each_is() -> None:
    with pytest.raises(UsageError, match="classes \\[9\\]"):
        score_together(np.array([9]), np.ones((1, 4), dtype=np.int64), [0], absent="zero")
    with pytest.raises(UsageError, match="at least one class"):
        score_together(np.array([9]), np.ones((1, 4), dtype=np.int64), [], absent="zero")


def test_an_unfinished_run_is_scored_on_the_classes_that_it_has_met() -> None:
    assert select_scored_classes([0, 1, 2], [2, 0, 2], whole=False) == (0, 2)
    assert select_scored_classes([0, 1, 2], [2, 0, 2], whole=True) == (0, 1, 2)
    part = score([2, 0], [[1, 1], [1, 3]], [[2, 2], [2, 4]], [0, 1, 2], whole=False)
    assert (part.miou, part.unmet, part.absent) == (62.5, (1,), ())
    whole = score([2, 0], [[1, 1], [1, 3]], [[2, 2], [2, 4]], [0, 1, 2])
    assert (whole.miou, whole.unmet, whole.absent) == (pytest.approx(125 / 3), (), (1,))


def test_missing_classes_are_marked_with_their_number() -> None:
    assert mark_missing_classes([0, 1, 2], [2, 0, 2]) == ("classes (2 of 3 classes met)",)
    assert mark_missing_classes([0, 2], [2, 0, 2]) == ()
    assert score([2], [[1, 1]], [[1, 1]], [1, 2]).marks == ("classes (1 of 2 classes met)",)


def test_no_episode() -> None:
    empty = score([], np.zeros((0, 2)), np.zeros((0, 2)), classes=[0, 1])
    assert (empty.miou, empty.fb_iou, empty.episodes, empty.absent) == (0.0, 0.0, 0, (0, 1))
