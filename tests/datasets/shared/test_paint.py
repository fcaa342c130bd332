from __future__ import annotations

import numpy as np
import pytest
from fssbench.datasets.shared import paint
from hypothesis import given, settings, strategies as st


def test_same_key_same_picture():
    first, second, other = (
        paint.paint_ground(paint.make_generator(*key), 60, 80) for key in ((1, 2), (1, 2), (2, 1))
    )
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).mean() > 1


@settings(max_examples=25, deadline=None)
@given(
    number=st.integers(0, 99),
    x=st.floats(-40, 160),
    y=st.floats(-40, 120),
    radius=st.floats(4, 40),
    seed=st.integers(0, 9),
)
def test_a_figure_changes_only_its_surroundings(number, x, y, radius, seed):
    scene = paint.paint_ground(paint.make_generator(seed), 80, 120)
    before = scene.copy()
    where = paint.paint_figure(
        scene, paint.choose_look(1, number), (x, y), radius, paint.make_generator(seed, 1)
    )
    rows, columns = np.nonzero(np.abs(scene - before).max(axis=2) > 0)
    reach = 1.5 * radius + 1
    assert (np.abs(columns - x) <= reach).all()
    assert (np.abs(rows - y) <= reach).all()
    assert where.shape == (80, 120)
    assert np.isfinite(scene).all()
    yy, xx = np.nonzero(where)
    assert (np.hypot(xx - x, yy - y) <= 1.5 * radius * np.sqrt(2) + 1).all()


@pytest.mark.parametrize("family", [1, 2, 3])
def test_every_class_can_be_seen_and_none_fills_the_box(family):
    for number in range(80 if family == 2 else 20):
        scene = np.zeros((120, 120, 3), np.float32)
        where = paint.paint_figure(
            scene, paint.choose_look(family, number), (60, 60), 38, paint.make_generator(5, number)
        )
        assert 0.06 < where.mean() < 0.6, number


def test_looks_differ_between_classes_and_not_between_calls():
    looks = [paint.choose_look(2, n) for n in range(80)]
    assert len(set(looks)) == 80
    assert paint.choose_look(2, 7) is looks[7]
    neighbours = np.sort([k.hue for k in looks[:20]])
    assert np.diff(neighbours).min() > 0.02


def test_finish_clips():
    image = paint.finish_scene(np.array([[[-5, 100.4, 300]]], np.float32))
    assert image.mode == "RGB"
    assert image.getpixel((0, 0)) == (0, 100, 255)
